"""Writes a bill of materials (CycloneDX 1.6, JSON) of the program from the output of `cargo metadata`.

Lists the crates of the default build for all platforms, without those that only tests or build scripts of
this workspace need. The same input gives the same bytes: there is no time and no random number in it.
"""

import json
import sys
import uuid


def reached(metadata, roots):
    """The ids of packages that the roots need to run or to build."""
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    found, open_ = set(), list(roots)
    while open_:
        package = open_.pop()
        if package in found:
            continue
        found.add(package)
        for dependency in nodes[package]["deps"]:
            kinds = {kind["kind"] for kind in dependency["dep_kinds"]}
            if kinds != {"dev"}:
                open_.append(dependency["pkg"])
    return found


def url(package):
    return f"pkg:cargo/{package['name']}@{package['version']}"


def licence(package):
    expression = (package["license"] or "").replace(" / ", "/").replace("/", " OR ")
    return [{"expression": expression}] if expression else []


def checksums():
    """By name and version, from Cargo.lock: `cargo metadata` leaves them out."""
    import tomllib

    with open("Cargo.lock", "rb") as file:
        packages = tomllib.load(file)["package"]
    return {(one["name"], one["version"]): one.get("checksum") for one in packages}


def component(package, sums):
    entry = {
        "type": "library",
        "bom-ref": url(package),
        "name": package["name"],
        "version": package["version"],
        "purl": url(package),
        "licenses": licence(package),
    }
    digest = sums.get((package["name"], package["version"]))
    if digest:
        entry["hashes"] = [{"alg": "SHA-256", "content": digest}]
    if package.get("repository"):
        entry["externalReferences"] = [{"type": "vcs", "url": package["repository"]}]
    return entry


def main():
    metadata = json.load(sys.stdin)
    packages = {package["id"]: package for package in metadata["packages"]}
    program = next(one for one in metadata["packages"] if one["name"] == "ribflow" and not one["source"])
    found = reached(metadata, [program["id"]])
    sums = checksums()
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    components = [component(packages[one], sums) for one in found if one != program["id"]]
    components.sort(key=lambda one: one["bom-ref"])
    dependencies = [
        {
            "ref": url(packages[one]),
            "dependsOn": sorted({url(packages[next_]) for next_ in nodes[one]["dependencies"] if next_ in found}),
        }
        for one in found
    ]
    dependencies.sort(key=lambda one: one["ref"])
    content = json.dumps([components, dependencies], sort_keys=True)
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, content)}",
        "version": 1,
        "metadata": {"component": {**component(program, sums), "type": "application"}},
        "components": components,
        "dependencies": dependencies,
    }
    json.dump(document, sys.stdout, indent=1)
    sys.stdout.write("\n")


main()
