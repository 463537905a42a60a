//! The house rules, checked on every file of the repository. Each check is shown to fail on a planted
//! violation, in the module that holds it.

mod attacks;
mod examples;
mod house;
mod papers;
mod reached;
mod scan;
mod shape;
mod tree;
mod vendors;

use std::io;

use tree::{assert_tidy, find};

#[test]
fn modules_name_only_what_the_house_table_allows() -> io::Result<()> {
    assert_tidy(tree::files()?.iter().filter(|file| file.is_rust()).flat_map(house::check).collect());
    Ok(())
}

#[test]
fn the_manual_tells_the_house_table() -> io::Result<()> {
    assert_tidy(house::check_manual(&find(&tree::files()?, "src/manual/architecture.md")));
    Ok(())
}

#[test]
fn crates_clocks_and_randomness_stay_at_their_addresses() -> io::Result<()> {
    assert_tidy(tree::files()?.iter().filter(|file| file.is_rust()).flat_map(vendors::check).collect());
    Ok(())
}

#[test]
fn files_and_functions_keep_their_shape() -> io::Result<()> {
    assert_tidy(tree::files()?.iter().flat_map(shape::check).collect());
    Ok(())
}

#[test]
fn public_items_are_shown_by_example() -> io::Result<()> {
    assert_tidy(tree::files()?.iter().flat_map(examples::check).collect());
    Ok(())
}

#[test]
fn nothing_is_left_unfinished() -> io::Result<()> {
    assert_tidy(tree::files()?.iter().flat_map(shape::check_prose).collect());
    Ok(())
}

#[test]
fn the_change_log_is_open() -> io::Result<()> {
    assert_tidy(papers::check_changelog(&find(&tree::files()?, "CHANGELOG.md")));
    Ok(())
}

#[test]
fn every_guarantee_names_tests_that_exist() -> io::Result<()> {
    let files = tree::files()?;
    assert_tidy(papers::check_guarantees(&find(&files, "src/manual/guarantees.md"), &papers::tests(&files)));
    Ok(())
}

#[test]
fn every_attack_has_a_row_and_tests_that_were_seen_failing() -> io::Result<()> {
    let files = tree::files()?;
    assert_tidy(attacks::check(&find(&files, "src/manual/security.md"), &files));
    Ok(())
}

#[test]
fn the_glossary_defines_every_word() -> io::Result<()> {
    assert_tidy(papers::check_glossary(&find(&tree::files()?, "src/manual/glossary.md")));
    Ok(())
}

#[test]
fn every_limit_is_kept_and_told_truly() -> io::Result<()> {
    let files = tree::files()?;
    assert_tidy(papers::check_limits(&find(&files, "src/limits.rs"), &files));
    Ok(())
}

#[test]
fn every_limit_is_reached_by_a_test() -> io::Result<()> {
    let files = tree::files()?;
    assert_tidy(reached::check(&find(&files, "src/limits.rs"), &files));
    Ok(())
}

#[test]
fn the_gate_runs_the_commands_of_the_readme() -> io::Result<()> {
    let files = tree::files()?;
    assert_tidy(papers::check_commands(&find(&files, "README.md"), &find(&files, ".ci/run")));
    Ok(())
}

#[test]
fn the_tree_names_no_place_of_one_machine() -> io::Result<()> {
    assert_tidy(tree::files()?.iter().flat_map(papers::check_places).collect());
    Ok(())
}

#[test]
fn both_licences_are_whole() -> io::Result<()> {
    let files = tree::files()?;

    let apache = find(&files, "LICENSE-APACHE").text;
    let mit = find(&files, "LICENSE-MIT").text;

    assert!(apache.contains("Version 2.0, January 2004"));
    assert!(apache.contains("END OF TERMS AND CONDITIONS"));
    assert!(mit.contains("Permission is hereby granted, free of charge"));
    assert!(mit.contains("WITHOUT WARRANTY OF ANY KIND"));
    Ok(())
}
