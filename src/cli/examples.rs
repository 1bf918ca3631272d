//! The examples under each help text.

pub const RIBFLOW: &str = "\
Start here:
  ribflow run workflows/mini-rib.yaml --profile tiny   the whole benchmark, as small as it gets
  ribflow plan workflows/mini-rib.yaml                 what a run would do
  ribflow run --help                                   more of this";

pub const RIBFLOW_LONG: &str = "\
Start here:
  ribflow run workflows/mini-rib.yaml --profile tiny   the whole benchmark, as small as it gets
  ribflow plan workflows/mini-rib.yaml                 what a run would do
  ribflow run --help                                   more of this

Nodes are named as in a workflow's `needs:`: accuracy (all nodes of the stage), tuned[method=ft]
(those with this value), tuned[method=ft|lp,seed=0]. Quote them: brackets mean something to shells.

Exit codes:
  0    done
  1    a node failed
  2    the workflow or the command line is wrong; nothing was started
  3    verify: a published number, a claim or a recomputed result did not come out
  4    verify: nothing could be judged
  130  interrupted

Environment:
  RIBFLOW_STORE  the store, as --store
  RIBFLOW_KEY    the key that signs, where there are several
  RIBFLOW_LOG    what to log to standard error: info, debug, ribflow::store=trace
  NO_COLOR       no colours";

pub const RUN: &str = "\
Examples:
  ribflow run grid.yaml                           everything; what is in the store is reused
  ribflow run grid.yaml --profile tiny            with a profile of the file
  ribflow run grid.yaml --set params.epochs=2     with another value
  ribflow run grid.yaml 'accuracy[method=ft]'     these nodes and what they need
  ribflow run grid.yaml --force 'tuned[seed=0]'   once more, to see whether it comes out the same
  ribflow run grid.yaml --accept evaluate@2       after an upgrade: with the records of version 2
  ribflow run grid.yaml --json | jq -c 'select(.event == \"node_failed\")'

Ctrl-C stops cleanly, and the same command goes on from there; a second Ctrl-C stops at once.";

pub const PLAN: &str = "\
Examples:
  ribflow plan grid.yaml                          a table by stage
  ribflow plan grid.yaml -v                       every node that would run, and why
  ribflow plan grid.yaml --set params.epochs=2    what that change would cost
  ribflow plan grid.yaml --json | jq -r '.nodes[] | select(.state == \"would_run\") | .id'";

pub const STATUS: &str = "\
Examples:
  ribflow status grid.yaml                 a table by stage, and what runs or failed
  ribflow status grid.yaml 'tuned[seed=0]' of these nodes and what they need
  ribflow status grid.yaml --json | jq -r '.nodes[] | select(.state == \"failed\") | .why'

Works beside a run that is going on.";

pub const WHY: &str = "\
Examples:
  ribflow why grid.yaml 'tuned[method=ft,seed=0]'          what differs since its last result
  ribflow why grid.yaml summary -v                         with everything its key is made of
  ribflow why grid.yaml pretrained --set params.epochs=2   what a change would touch";

pub const GET: &str = "\
Examples:
  ribflow get grid.yaml 'tuned[method=ft,seed=0]' -o tuned/   tensors.safetensors and config.json
  ribflow get grid.yaml 'accuracy[seed=0]' -o accuracy/       a folder for each node
  ribflow get my-images.yaml drawn.drawings -o drawings/      one output: its files

Models and arrays become .safetensors files, metrics and tables JSON and CSV, datasets image
folders.";

pub const VERIFY: &str = "\
Examples:
  ribflow verify grid.yaml                                  every published number, and the claims
  ribflow verify grid.yaml --profile calibrate              what the pre-trained models come to
  ribflow verify grid.yaml --expect other-lab.yaml          against other numbers
  ribflow verify grid.yaml --recompute                      a sample of the results, once more
  ribflow verify grid.yaml --recompute 10% --accept evaluate@2   so that `run --accept` takes them
  ribflow verify grid.yaml --json | jq -r '.values[] | select(.verdict == \"different\") | .metric'";

pub const LOCK: &str = "\
Examples:
  ribflow lock grid.yaml            once, and after adding a checkpoint or a dataset
  ribflow lock grid.yaml --update   when a newer commit is wanted, or the data has changed

HF_ENDPOINT names another hub than huggingface.co, HF_TOKEN a token.";

pub const VALIDATE: &str = "\
Examples:
  ribflow validate grid.yaml
  ribflow validate grid.yaml --profile tiny --json

Nothing is run and no data is read. Exit code 0: the file is good; 2: it is not.";

pub const GRAPH: &str = "\
Examples:
  ribflow graph grid.yaml --stages | dot -Tsvg > grid.svg
  ribflow graph grid.yaml --stages --format mermaid
  ribflow graph grid.yaml 'tuned[seed=0]' | dot -Tpdf > tuned.pdf";

pub const KEY: &str = "\
Examples:
  ribflow key generate                  once, before the first push; the name is random
  ribflow key generate --name aachen    with a name of your own
  ribflow key show                      what others need: aachen:mS1o…=

Private keys lie in $XDG_DATA_HOME/ribflow/keys (~/.local/share/ribflow/keys). RIBFLOW_KEY names
the one that signs, where there are several.";

pub const TRUST: &str = "\
Examples:
  ribflow trust add aachen:mS1o…=    what `ribflow key show` printed there
  ribflow trust list                 who is trusted, and who took their key back
  ribflow trust remove aachen        take nothing more from them
  ribflow trust allow --all grid/grid.yaml    show the commands of an imported workflow, then ask

Ask them for the key over a way that you trust: it is all that tells them from others. The list
lies in $XDG_CONFIG_HOME/ribflow/config.yaml (~/.config/ribflow/config.yaml).";

pub const REMOTE: &str = "\
Examples:
  ribflow remote add aachen s3://rib-results/mini --region eu-central-1
  ribflow remote add aachen https://cache.aachen.example --write --token-env RIBFLOW_TOKEN
  ribflow remote add disk /mnt/shared/rib --write
  ribflow remote add many s3://rib-results/all --quorum 2 --recheck 5%
  ribflow remote check aachen";

pub const REVOKE: &str = "\
Examples:
  ribflow revoke --record 4f1c… --reason 'the test images were in the training set'
  ribflow revoke --key --reason 'a laptop was stolen' --remote aachen

`ribflow why FILE NODE` names the record of a node.";

pub const SERVE: &str = "\
Examples:
  ribflow serve                                          this machine only, read-only
  ribflow serve --address 0.0.0.0:8790                   everybody who reaches it may read
  ribflow serve --store shared/ --tokens tokens.txt      whoever has one of the tokens may push
  ribflow serve --address 127.0.0.1:0 --json             any free port: {\"url\":…,\"port\":…}

A token is at least 16 letters: `openssl rand -hex 32 >> tokens.txt; chmod 600 tokens.txt`. The
other lab puts it into an environment variable, which `ribflow remote add` takes the name of.

This server speaks no TLS. Let a proxy do that, which has a certificate:
  caddy reverse-proxy --from ribflow.example.org --to 127.0.0.1:8790
docs/protocol.md has the same for nginx, and what is asked and answered.";

pub const DATA: &str = "\
Examples:
  ribflow data check /data/imagenet-rib            folders, classes and numbers of images
  ribflow data check /data/imagenet-rib --decode   also whether every image can be read";

pub const KINDS: &str = "\
Examples:
  ribflow kinds             a line for each kind that a stage's `use:` may name
  ribflow kinds finetune    all that may stand under its `needs:` and `with:`";

pub const MODELS: &str = "\
Examples:
  ribflow models                        all of them
  ribflow models vit_base_patch16_224   one architecture with its checkpoints
  ribflow models resnet --json          for scripts";

pub const BENCH: &str = "\
Examples:
  ribflow bench                                           a short selection, about a minute
  ribflow bench --list                                    every name, and what a name may say
  ribflow bench model/resnet18                            all that begins so
  ribflow bench 'model/*/train' --threads 2               all that match
  ribflow bench model/vit_base_patch32_224/train/b4/bf16  another model, batch and precision
  ribflow bench data/jpeg224 --images photographs/        on real photographs
  ribflow bench gemm --json | jq '.results[] | [.name, .wall_ms.median, .rate]'

benches/peers/ in the sources has the same work in PyTorch and others, and scripts that measure
both in turn.";

pub const SCHEMA: &str = "\
Examples:
  ribflow schema > ribflow.schema.json

With `# yaml-language-server: $schema=ribflow.schema.json` in its first line, an editor checks and
completes a workflow file.";

pub const COMPLETIONS: &str = "\
Examples:
  ribflow completions bash > ~/.local/share/bash-completion/completions/ribflow
  ribflow completions zsh > ~/.zfunc/_ribflow
  ribflow completions fish > ~/.config/fish/completions/ribflow.fish";

pub const PUSH: &str = "\
Examples:
  ribflow push grid.yaml --remote lab               everything that has a result
  ribflow push grid.yaml 'accuracy' --remote lab --records-only
  ribflow push grid.yaml --remote lab --dry-run     how much would move";

pub const PULL: &str = "\
Examples:
  ribflow pull grid.yaml --remote lab --records-only   enough for results, report and verdicts
  ribflow pull grid.yaml 'tuned[method=ft]' --remote lab
  ribflow verify grid.yaml                             what came of the published numbers

`ribflow trust add NAME:KEY` says whose results are taken.";

pub const EXPORT_BUNDLE: &str = "\
Examples:
  ribflow export bundle grid.yaml -o grid.ribbundle           records only: a few megabytes
  ribflow export bundle grid.yaml -o grid.ribbundle --blobs   with models and arrays";

pub const IMPORT: &str = "\
Examples:
  ribflow import grid.ribbundle -o grid/
  ribflow trust allow --all grid/grid.yaml     read its commands, and let them run
  ribflow verify grid/grid.yaml

After an import that was killed, the same command begins again. `ribflow trust add NAME:KEY` says whose results are taken.";

pub const CACHE: &str = "\
Examples:
  ribflow cache gc --dry-run                  what could go
  ribflow cache gc --max-size 500GB           until it fits
  ribflow cache pin grid.yaml --name paper    these results stay
  ribflow cache verify                        is everything as it was written?
  ribflow cache du                            what takes room

The store is the one of the current folder, or the workflow's, or --store.";

pub const CACHE_ADOPT: &str = "\
Examples:
  ribflow cache adopt cache                   the store beside the workflow
  ribflow cache adopt /data/lab/cache         a store that a colleague made";

pub const CACHE_GC: &str = "\
Examples:
  ribflow cache gc --dry-run -v                       every record that would go
  ribflow cache gc --older-than 7d                    what no run of this week has needed
  ribflow cache gc --older-than 0 --keep-runs 3       keep the three newest runs of each workflow
  ribflow cache gc --max-size 2TB                     until it fits";

pub const CACHE_VERIFY: &str = "\
Examples:
  ribflow cache verify
  ribflow cache verify --repair
  ribflow cache verify --json | jq -r '.faults[] | .nodes[]'";

pub const CACHE_PIN: &str = "\
Examples:
  ribflow cache pin grid.yaml --name paper              everything that the workflow has made
  ribflow cache pin grid.yaml 'accuracy[*]' --name v2   these nodes and what they need
  ribflow cache unpin paper";

pub const CACHE_LS: &str = "\
Examples:
  ribflow cache ls                every record
  ribflow cache ls grid.yaml      those of a workflow
  ribflow cache ls --json | jq -r '.records[] | select(.here | not) | .key'";

pub const CACHE_FORGET: &str = "\
Examples:
  ribflow cache forget grid.yaml 'tuned[seed=0]'         what would go
  ribflow cache forget grid.yaml 'tuned[seed=0]' --yes
  ribflow cache forget 3f786850e387 --yes                a record, or all records of a key";

pub const CACHE_CHOOSE: &str = "\
Examples:
  ribflow cache choose grid.yaml 'accuracy[seed=0]'                their metrics side by side
  ribflow cache choose grid.yaml 'accuracy[seed=0]' 3f786850e387   use this one from now on";

pub const EXPORT_RO_CRATE: &str = "\
Examples:
  ribflow export ro-crate grid.yaml -o crate/
  ribflow export ro-crate grid.yaml -o crate/ --license https://spdx.org/licenses/CC-BY-4.0

The folder is what Zenodo, WorkflowHub and others take: the workflow, its results and report, and
ro-crate-metadata.json, which says what each file is.";
