//! The command line: help texts, exit codes, what goes to which stream.

use crate::space::TestSpace;

#[test]
fn completions_are_written_for_every_shell() {
    let space = TestSpace::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let outcome = space.run(&["completions", shell]).expect(0);
        assert!(outcome.stdout.contains("ribflow"), "{shell}");
    }
}

#[test]
fn a_wrong_command_line_is_exit_code_2_in_words_and_in_json() {
    let space = TestSpace::new();
    insta::assert_snapshot!(space.run(&["completions", "tcsh"]), @r"
    --- stderr
    error: invalid value 'tcsh' for '<SHELL>'
      [possible values: bash, elvish, fish, powershell, zsh]

      tip: a similar value exists: 'zsh'

    For more information, try '--help'.
    [exit code 2]
    ");
    insta::assert_snapshot!(space.run(&["completions", "tcsh", "--json"]), @r#"
    {"errors":[{"code":"command-line","column":0,"file":"","hint":"a similar value exists: 'zsh'","line":0,"message":"invalid value 'tcsh' for '<SHELL>' [possible values: bash, elvish, fish, powershell, zsh]"}]}
    [exit code 2]
    "#);
    insta::assert_snapshot!(space.run(&["--device", "tpu", "completions", "bash"]), @r"
    --- stderr
    error: invalid value 'tpu' for '--device <DEVICE>': `tpu` is no device: auto, cpu, cuda or cuda:N is expected

    For more information, try '--help'.
    [exit code 2]
    ");
}
