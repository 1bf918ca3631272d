//! What commands do, at length: the text above the options in `--help`.

pub const PLAN: &str = "\
Show what a run would do

Nothing is run. Nodes are counted by what a run would do with them:

  reused        its result is in the store
  remote        its result is at a remote (--remote)
  would run     its key is known and has no result
  unknown       something that it needs must run first; if that comes out as before, the
                node's result may still be found
  missing data  its data, or an environment variable, is not here";

pub const VERIFY: &str = "\
Say whether the published numbers came out

Nothing is run. Every published number and claim gets a verdict:

  reproduced         the number differs by no more than its source's precision and twice the
                     standard deviation over repeats
  different          it differs by more
  same, opposite     the claim holds, or its contrary does
  indistinguishable  neither, beyond the spread over repeats
  difference only    there is one repeat only, so nobody knows how far it varies
  other setting      something is not as published: fewer images, other epochs
  not calibrated     numbers that must come out right first have not
  not run            it has no result

Ends with 0 where nothing differs, 3 where something does, 4 where nothing could be judged.

With --recompute a sample of the workflow's own results is computed again instead, and compared
with their records:

  equal      to the last bit
  within     the tolerance that the kind declares for its metrics
  different  anything else
  failed     the node failed
  not here   its data, or a file that it reads, is not here

Ends with 0, 3 and 4 likewise, and with 1 where a node failed.";

pub const LOCK: &str = "\
Write down what a workflow takes from outside

What a workflow takes from outside is written to FILE.lock, for the file and all its profiles:

  checkpoints   of a hub that are named by a branch or a tag are looked up, not downloaded; the
                commit and the digest that the hub names are taken from then on
  data          the digest of what lies in every folder and file that it reads

With the lock, everything can be keyed, planned, pulled, reported and verified by somebody who
has neither the data nor the checkpoints. Where the data is, it must be what the lock says.";

pub const MODELS: &str = "\
List the architectures and what their published checkpoints ask for

Parameters and outputs of the published checkpoint, pixels on a side, mean and standard
deviation of the channels, and the evaluation transform: the shorter side is resized to so
many pixels, and the crop keeps this share of it.";

pub const PUSH: &str = "\
Send results to a remote

Results that are in the store go to a remote: the blobs first, then the records, signed with
this lab's key. What is there already does not move again: a linear probe is a few kilobytes
where the model that it was made from is known.

What a dataset's licence keeps here (`share:` of a `dataset`) never goes.";

pub const PULL: &str = "\
Take results from a remote

Records that somebody trusted has signed are taken from a remote, and the files that they name.
With a lock file beside the workflow neither its data nor its checkpoints are needed.";

pub const EXPORT_BUNDLE: &str = "\
Write a workflow with its results as one file, for a lab with no network in common

The workflow, its lock, what was published, its scripts, and the records of its nodes, signed
with this lab's key, in one file that `ribflow import` takes. What a dataset's licence keeps
here is never in it.";

pub const IMPORT: &str = "\
Take a workflow with its results from a file

Everything in the bundle is checked before anything of it is kept: names, sizes, digests, and
that somebody trusted has signed every record. Its `command` stages stay off until they are
allowed, one by one, by digest.";

pub const BENCH: &str = "\
Measure how fast ribflow is on this machine

Kernels, models, images, transport, hashing, the store, and a run that has nothing to do. Every
benchmark runs in a process of its own, so that its peak memory is its own: a warm-up first, then
rounds of which the least, the median and the largest are told. On a machine that does other
things too, the least says most.

Without names a short selection runs, for about a minute. What works on files makes them in the
system's folder for temporary files and takes them away again.";
