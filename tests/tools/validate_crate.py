"""Holds a crate against the public validator. The JSON-LD context, which a validator fetches from
w3id.org, is the copy that the package `rocrate` has."""

import json
import sys
from pathlib import Path

import requests
import rocrate
from rocrate_validator import models, services
from rocrate_validator.utils import http

context = (Path(rocrate.__file__).parent / "data/ro-crate.jsonld").read_bytes()


def answer(self, url, *args, **kwargs):
    response = requests.Response()
    response.url = url
    response.status_code = 200 if url.startswith("https://w3id.org/ro/crate/1.1/context") else 404
    response._content = context
    response.headers["content-type"] = "application/ld+json"
    return response


class Local:
    def __getattr__(self, name):
        return lambda url, *args, **kwargs: answer(self, url)


http.HttpRequester.__getattr__ = lambda self, name: (lambda url, *args, **kwargs: answer(self, url))
settings = services.ValidationSettings(
    rocrate_uri=sys.argv[1],
    profile_identifier="workflow-run-crate-0.5",
    requirement_severity=models.Severity.REQUIRED,
)
result = services.validate(settings)
for issue in result.get_issues():
    print(issue.check.identifier, issue.severity.name, issue.message)
sys.exit(0 if not result.has_issues() else 1)
