//! What a terminal leaves of drawn lines when it becomes narrower.

use std::env;

use console::Term;

/// Whether the terminal wraps lines that are already drawn. Most do; an old one cuts them off.
pub fn wraps_drawn_lines() -> bool {
    let term = env::var("TERM").unwrap_or_default();
    let is = |prefix: &str| term.starts_with(prefix);
    let cuts = is("linux") || is("rxvt") || is("vt") || env::var_os("XTERM_VERSION").is_some();
    // tmux wraps, and calls itself `screen` or `tmux`; GNU screen does not.
    !cuts && (!is("screen") || env::var_os("TMUX").is_some())
}

/// How many more rows lines of these widths take on a terminal of `columns`.
pub fn wrapped_rows(widths: &[usize], columns: usize) -> usize {
    let more = |width: &usize| width.div_ceil(columns.max(1)).saturating_sub(1);
    widths.iter().map(more).sum()
}

/// Erases rows above the cursor, which is at the beginning of a row.
pub fn erase_above(rows: usize) {
    let terminal = Term::stderr();
    for _ in 0..rows {
        // A screen that can't be written to needs no erasing.
        let _ = terminal
            .move_cursor_up(1)
            .and_then(|()| terminal.clear_line());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_wrap_into_as_many_rows_as_they_need() {
        assert_eq!(wrapped_rows(&[85, 60, 0, 120], 60), 1 + 1);
        assert_eq!(wrapped_rows(&[85, 120], 200), 0);
        assert_eq!(wrapped_rows(&[5], 0), 4);
    }
}
