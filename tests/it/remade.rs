//! Images that a node made from photographs in a folder: where their blobs are lost, the node makes
//! them again, and the photographs are not blamed.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use crate::fixtures;
use crate::space::TestSpace;

fn workflow(made: &str) -> String {
    format!(
        "ribflow: 1
name: remade
params: {{ severity: 1 }}
stages:
  photos: {{ use: dataset, with: {{ folder: photos }} }}
{made}  spoilt:
    use: corrupt
    needs: {{ images: made }}
    with: {{ corruption: brightness, severity: \"${{params.severity}}\" }}
"
    )
}

/// A script that copies the photograph to `place` with other bytes, and a dataset of its output.
fn copied(place: &str) -> String {
    format!(
        "  copied:
    use: command
    needs: {{ photos: photos }}
    with:
      run: mkdir -p out/made/a && (cat photos/a/1.png; echo) > out/made/{place}
      outputs: [made]
  made: {{ use: dataset, needs: {{ folder: copied.made }} }}
"
    )
}

/// All blobs: those of the stages, since the photographs stay outside the store.
fn blobs(space: &TestSpace) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![space.path("cache/objects")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false => found.push(path),
            }
        }
    }
    found
}

fn damage(path: &PathBuf) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).unwrap();
}

#[test]
fn images_that_a_node_made_are_made_again() {
    let picture = fs::read(fixtures::copies().join("../images/rgb.png")).unwrap();
    let drawn = "  made: { use: draw, needs: { images: photos } }\n".to_string();
    for made in [drawn, copied("a/1.png"), copied("a/2.png")] {
        for lose in [damage as fn(&PathBuf), |path| {
            fs::remove_file(path).unwrap()
        }] {
            let space = TestSpace::new();
            space.write("photos/a/1.png", &picture);
            space.write("remade.yaml", workflow(&made));
            space.run(&["run", "remade.yaml", "-q"]).ok();
            let before = blobs(&space);
            assert!(!before.is_empty(), "{made}");
            before.iter().for_each(lose);
            // Another value of the last stage reads the images again.
            let _ = fs::remove_dir_all(space.path("cache/derived"));
            let again = space.run(&["run", "remade.yaml", "--set", "params.severity=2"]);
            let again = again.expect(0);
            assert!(again.stderr.contains("runs again"), "{made}: {again}");
        }
    }
}

/// A folder's own photograph is not made again: the message says what happened to it.
#[test]
fn a_photograph_that_is_gone_is_named() {
    let space = TestSpace::new();
    let picture = fs::read(fixtures::copies().join("../images/rgb.png")).unwrap();
    space.write("photos/a/1.png", &picture);
    let concat = "  made: { use: concat, needs: { parts: [photos] } }\n";
    space.write("remade.yaml", workflow(concat));
    space.run(&["run", "remade.yaml", "-q"]).ok();
    space.run(&["lock", "remade.yaml", "-q"]).ok();
    fs::remove_dir_all(space.path("photos")).unwrap();
    let _ = fs::remove_dir_all(space.path("cache/derived"));
    let arguments = ["run", "remade.yaml", "--set", "params.severity=2"];
    let gone = space.run(&arguments).expect(1);
    assert!(gone.stderr.contains("a/1.png"), "{gone}");
}
