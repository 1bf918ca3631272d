//! The report in a browser: what axe-core finds, what the keyboard reaches, what is on paper. In
//! headless Chromium, whose page is read back after a script of the test has run in it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use ribflow::report::{self, View};
use serde_json::{Value, json};

use crate::sample::{self, Grid, Sample};
use crate::servers::{own_tool, tool};
use crate::space::TestSpace;

/// Chromium and axe-core, or `None` with a line.
fn browser() -> Option<(PathBuf, String)> {
    let chromium = tool(
        &["chromium", "chromium-browser", "google-chrome"],
        "apt-get install chromium",
    )?;
    let axe = own_tool(
        &["axe.min.js"],
        "npm pack axe-core@4.14.1, and axe.min.js of it into target/test-tools/bin",
    )?;
    Some((chromium, fs::read_to_string(axe).unwrap()))
}

/// Every picture and table; an unfinished run of the same; a workflow without a benchmark.
fn pages() -> Vec<(&'static str, String)> {
    let whole = sample::mini_rib(&Grid::small());
    let mut part = sample::mini_rib(&Grid::small());
    let half = part.records.len() / 2;
    let kept = part.records.into_iter().take(half);
    part.records = kept.collect();
    let page = |sample: &Sample| {
        let folder = tempfile::tempdir().unwrap();
        report::write(&View::new(&sample.graph, &sample.records), folder.path()).unwrap();
        fs::read_to_string(folder.path().join("report.html")).unwrap()
    };
    vec![
        ("whole", page(&whole)),
        ("part", page(&part)),
        ("own images", page(&sample::my_images())),
    ]
}

#[derive(Clone, Copy)]
struct Looks {
    dark: bool,
    width: usize,
}

const LIGHT: Looks = Looks {
    dark: false,
    width: 1280,
};

/// What `script`, the body of an async function, returns in `page`.
fn run(chromium: &Path, page: &str, looks: Looks, script: &str) -> Value {
    let space = TestSpace::new();
    let ending = format!(
        "<script>(async () => {{ {script} }})().then(found => {{
            const told = document.createElement('pre');
            told.id = 'found';
            told.textContent = JSON.stringify(found).replace(/[<>&]/g, ' ');
            document.body.append(told);
        }});</script></body>"
    );
    let page = space.write("page.html", page.replace("</body>", &ending));
    let scheme = if looks.dark { 0 } else { 1 };
    let output = Command::new(chromium)
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
        ])
        .args(["--no-first-run", "--disable-background-networking"])
        .args(["--disable-component-update", "--disable-sync", "--dump-dom"])
        .arg(format!(
            "--user-data-dir={}",
            space.path("profile").display()
        ))
        .arg(format!("--window-size={},900", looks.width))
        .arg(format!("--blink-settings=preferredColorScheme={scheme}"))
        .arg("--virtual-time-budget=60000")
        .arg(format!("file://{}", page.display()))
        .output()
        .unwrap();
    let document = String::from_utf8(output.stdout).unwrap();
    let found = document
        .split_once("<pre id=\"found\">")
        .and_then(|(_, rest)| rest.split_once("</pre>"));
    let Some((found, _)) = found else {
        panic!("{}", String::from_utf8_lossy(&output.stderr));
    };
    serde_json::from_str(found).unwrap_or_else(|error| panic!("{error}: {found}"))
}

#[test]
fn axe_finds_nothing() {
    let Some((chromium, axe)) = browser() else {
        return;
    };
    let script = "
        for (const one of document.querySelectorAll('details')) one.open = true;
        const found = await axe.run();
        return found.violations.map(it => [it.impact, it.id, it.nodes[0].target.join(' ')]);";
    for (name, page) in pages() {
        let page = page.replace("</body>", &format!("<script>{axe}</script></body>"));
        for looks in [
            LIGHT,
            Looks {
                dark: true,
                ..LIGHT
            },
            Looks {
                width: 420,
                ..LIGHT
            },
        ] {
            let found = run(&chromium, &page, looks, script);
            assert_eq!(found, json!([]), "{name}, {} wide", looks.width);
        }
    }
}

#[test]
fn the_keyboard_sorts_and_reads_where_numbers_come_from() {
    let Some((chromium, _)) = browser() else {
        return;
    };
    let (_, page) = pages().swap_remove(0);
    let script = "
        const table = document.querySelector('table.sortable');
        const buttons = [...table.querySelectorAll('thead button')];
        const column = buttons.length - 1;
        buttons[column].focus();
        const focused = document.activeElement === buttons[column];
        buttons[column].click();
        const numbers = [...table.tBodies[0].rows].map(row => parseFloat(
            row.cells[column].textContent.replace('\\u2212', '-')));
        const owners = [...table.querySelectorAll('[data-tip]')];
        owners[0].focus();
        const tip = document.getElementById('tip');
        const shown = tip.classList.contains('on') && tip.textContent.length > 0;
        owners[0].dispatchEvent(new KeyboardEvent('keydown', { key: 'ArrowRight', bubbles: true }));
        const moved = document.activeElement === owners[1];
        owners[1].dispatchEvent(new KeyboardEvent('keydown', { key: 'Escape', bubbles: true }));
        const stops = table.querySelectorAll('[data-tip][tabindex=\"0\"]').length;
        return {
            focused, shown, moved, stops,
            order: buttons[column].parentNode.getAttribute('aria-sort'),
            sorted: numbers.length > 1 && numbers.every((it, at) => !at || it <= numbers[at - 1]),
            hidden: !tip.classList.contains('on'),
        };";
    assert_eq!(
        run(&chromium, &page, LIGHT, script),
        json!({
            "focused": true, "shown": true, "moved": true, "stops": 1,
            "order": "descending", "sorted": true, "hidden": true,
        })
    );
}

/// With the rules for paper, at the width of A4 without its margins: nothing is closed or cut off.
#[test]
fn on_paper_everything_is_there() {
    let Some((chromium, _)) = browser() else {
        return;
    };
    let script = "
        const closed = [...document.querySelectorAll('details')].filter(one =>
            [...one.children].slice(1).some(part => part.offsetHeight === 0 && part.textContent));
        const width = document.documentElement.clientWidth;
        const cells = document.querySelectorAll('td, th, svg, p, figcaption');
        const cut = [...cells].filter(one => one.getBoundingClientRect().right > width + 1);
        return { closed: closed.length, cut: cut.map(one => one.outerHTML.slice(0, 100)) };";
    for (name, page) in pages() {
        assert!(page.contains("@media print"));
        let page = page.replace("@media print", "@media all");
        let looks = Looks {
            width: 703,
            ..LIGHT
        };
        let found = run(&chromium, &page, looks, script);
        assert_eq!(found, json!({ "closed": 0, "cut": [] }), "{name}");
    }
}
