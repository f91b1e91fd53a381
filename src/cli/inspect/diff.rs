//! What differs between two printed graphs, as a unified diff that looks through the names of values.
//!
//! Lines are aligned by a longest common subsequence in which names of values count little, then values are paired as the
//! aligned lines make and read them. A line that differs only in names that are paired is unchanged, so that a value which
//! a pass makes anew does not show at each of its readers.

use std::collections::HashMap;
use std::fmt::Write;

/// Unchanged lines around a change.
const CONTEXT: usize = 3;
/// Pairs of lines that are compared at most: 32 Mi, of 4 bytes each.
const LIMIT: usize = 1 << 25;

/// What happens to a line; the numbers are those of its lines in the two texts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Edit {
    Keep(usize, usize),
    Remove(usize),
    Add(usize),
}

/// The unified diff of two texts with these names; empty where nothing differs. `None` where they are too long. `fixed` are
/// values that have the same name in both.
pub fn unified(from: (&str, &str), to: (&str, &str), fixed: &[&str]) -> Option<String> {
    let (old, new): (Vec<&str>, Vec<&str>) = (from.1.lines().collect(), to.1.lines().collect());
    let edits = pair_values(&old, &new, align(&old, &new)?, fixed);
    let mut out = String::new();
    for hunk in hunks(&edits) {
        if out.is_empty() {
            out = format!("--- {}\n+++ {}\n", from.0, to.0);
        }
        write_hunk(&mut out, &edits, hunk, &old, &new);
    }
    Some(out)
}

/// The line with every value name as `%`, and the names.
fn erase(line: &str) -> (String, Vec<&str>) {
    let mut pieces = line.split('%');
    let mut text = pieces.next().unwrap_or_default().to_owned();
    let mut names = Vec::new();
    for piece in pieces {
        let word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
        let (name, rest) = piece.split_at(piece.find(|c| !word(c)).unwrap_or(piece.len()));
        names.push(name);
        text.push('%');
        text.push_str(rest);
    }
    (text, names)
}

/// The alignment with the best score: 3 for lines that are equal, 2 for lines that are equal but for names.
fn align(old: &[&str], new: &[&str]) -> Option<Vec<Edit>> {
    let (n, m) = (old.len(), new.len());
    if (n + 1).checked_mul(m + 1)? > LIMIT {
        return None;
    }
    let erased = |lines: &[&str]| -> Vec<String> { lines.iter().map(|l| erase(l).0).collect() };
    let (bare_old, bare_new) = (erased(old), erased(new));
    let worth = |i: usize, j: usize| match () {
        () if old[i] == new[j] => 3,
        () if bare_old[i] == bare_new[j] => 2,
        () => 0u32,
    };
    let at = |i: usize, j: usize| i * (m + 1) + j;
    // The best score of what follows line i of the old text and line j of the new one.
    let mut best = vec![0u32; (n + 1) * (m + 1)];
    for i in (0..n).rev() {
        for j in (0..m).rev() {
            let both = match worth(i, j) {
                0 => 0,
                worth => worth + best[at(i + 1, j + 1)],
            };
            best[at(i, j)] = both.max(best[at(i + 1, j)]).max(best[at(i, j + 1)]);
        }
    }
    let (mut i, mut j) = (0, 0);
    let mut edits = Vec::with_capacity(n.max(m));
    while i < n || j < m {
        if i < n && j < m && worth(i, j) > 0 && best[at(i, j)] == worth(i, j) + best[at(i + 1, j + 1)] {
            edits.push(Edit::Keep(i, j));
            (i, j) = (i + 1, j + 1);
        } else if j == m || (i < n && best[at(i + 1, j)] >= best[at(i, j + 1)]) {
            edits.push(Edit::Remove(i));
            i += 1;
        } else {
            edits.push(Edit::Add(j));
            j += 1;
        }
    }
    Some(edits)
}

/// Pairs the values of aligned lines, one with one; lines whose values are paired otherwise become changes. Each of the
/// `fixed` names is paired with itself.
fn pair_values<'t>(old: &[&'t str], new: &[&'t str], edits: Vec<Edit>, fixed: &[&'t str]) -> Vec<Edit> {
    let mut forth: HashMap<&str, &str> = fixed.iter().map(|&name| (name, name)).collect();
    let mut back = forth.clone();
    let mut out = Vec::with_capacity(edits.len());
    for edit in edits {
        let Edit::Keep(i, j) = edit else {
            out.push(edit);
            continue;
        };
        let (before, after) = (erase(old[i]).1, erase(new[j]).1);
        let pairs = || before.iter().copied().zip(after.iter().copied());
        let known = pairs().all(|(a, b)| *forth.get(a).unwrap_or(&b) == b && *back.get(b).unwrap_or(&a) == a);
        // Names that are new here must be paired one with one within the line as well.
        let fits = known && pairs().all(|(a, b)| pairs().all(|(c, d)| (a == c) == (b == d)));
        if fits {
            forth.extend(pairs());
            back.extend(pairs().map(|(a, b)| (b, a)));
            out.push(edit);
        } else {
            out.extend([Edit::Remove(i), Edit::Add(j)]);
        }
    }
    removals_first(&mut out);
    out
}

/// In each run of changes, removals before additions.
fn removals_first(edits: &mut [Edit]) {
    for run in edits.split_mut(|e| matches!(e, Edit::Keep(..))) {
        run.sort_by_key(|e| matches!(e, Edit::Add(_)));
    }
}

/// Ranges of edits: changes with context, joined where the context meets.
fn hunks(edits: &[Edit]) -> Vec<std::ops::Range<usize>> {
    let mut hunks: Vec<std::ops::Range<usize>> = Vec::new();
    let changes = edits
        .iter()
        .enumerate()
        .filter(|(_, e)| !matches!(e, Edit::Keep(..)));
    for (at, _) in changes {
        let range = at.saturating_sub(CONTEXT)..(at + CONTEXT + 1).min(edits.len());
        match hunks.last_mut() {
            Some(last) if range.start <= last.end => last.end = range.end,
            _ => hunks.push(range),
        }
    }
    hunks
}

fn write_hunk(out: &mut String, edits: &[Edit], hunk: std::ops::Range<usize>, old: &[&str], new: &[&str]) {
    let count = |edits: &[Edit]| {
        let of_old = edits.iter().filter(|e| !matches!(e, Edit::Add(_))).count();
        let of_new = edits.iter().filter(|e| !matches!(e, Edit::Remove(_))).count();
        (of_old, of_new)
    };
    let (before, here) = (count(&edits[..hunk.start]), count(&edits[hunk.clone()]));
    // A range without lines names the line before it.
    let start = |before: usize, here: usize| before + usize::from(here > 0);
    let _ = writeln!(
        out,
        "@@ -{},{} +{},{} @@",
        start(before.0, here.0),
        here.0,
        start(before.1, here.1),
        here.1
    );
    for edit in &edits[hunk] {
        let _ = match *edit {
            Edit::Keep(_, j) => writeln!(out, " {}", new[j]),
            Edit::Remove(i) => writeln!(out, "-{}", old[i]),
            Edit::Add(j) => writeln!(out, "+{}", new[j]),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn diff(old: &str, new: &str) -> String {
        unified(("a", old), ("b", new), &[]).unwrap()
    }

    #[test]
    fn renumbering_is_no_difference() {
        let old = "%0 = embed @t\n%1 = act %0\n%2 = mul %1, %0\n";
        let new = "%5 = embed @t\n%9 = act %5\n%7 = mul %9, %5\n";
        assert_eq!(diff(old, new), "");
    }

    #[test]
    fn rewiring_is_a_difference() {
        let old = "%0 = embed @t\n%1 = act %0\n%2 = mul %1, %0\n";
        let new = "%0 = embed @t\n%1 = act %0\n%2 = mul %1, %1\n";
        let expected = "--- a\n+++ b\n@@ -1,3 +1,3 @@\n %0 = embed @t\n %1 = act %0\n-%2 = mul %1, %0\n+%2 = mul %1, %1\n";
        assert_eq!(diff(old, new), expected);
    }

    #[test]
    fn readers_of_a_value_made_anew_are_unchanged() {
        let old = "%v1 = matmul %v0, %w\n%v2 = act %v1\n";
        let new = "%v9 = linear %v0\n%v2 = act %v9\n";
        let expected =
            "--- a\n+++ b\n@@ -1,2 +1,2 @@\n-%v1 = matmul %v0, %w\n+%v9 = linear %v0\n %v2 = act %v9\n";
        assert_eq!(diff(old, new), expected);
    }

    #[test]
    fn one_value_does_not_stand_for_two_of_the_same_line() {
        let diff = diff("%v2 = add %v0, %v0\n", "%v2 = add %v5, %v6\n");
        assert!(
            diff.contains("-%v2 = add %v0, %v0\n+%v2 = add %v5, %v6\n"),
            "{diff}"
        );
    }

    #[test]
    fn parameters_stand_for_themselves() {
        let (old, new) = ("%v2 = rope %v0, %pos\n", "%v2 = rope %v0, %seq\n");
        let diff = unified(("a", old), ("b", new), &["pos", "seq"]).unwrap();
        assert!(
            diff.contains("-%v2 = rope %v0, %pos\n+%v2 = rope %v0, %seq\n"),
            "{diff}"
        );
        assert_eq!(unified(("a", old), ("b", old), &["pos", "seq"]).unwrap(), "");
    }

    #[test]
    fn distant_changes_have_hunks_of_their_own() {
        let lines: Vec<String> = (0..20).map(|n| format!("line {n}\n")).collect();
        let old = lines.concat();
        let new = old
            .replace("line 2\n", "")
            .replace("line 15\n", "line 15\nmore\n");
        let diff = diff(&old, &new);
        let heads: Vec<&str> = diff.lines().filter(|l| l.starts_with("@@")).collect();
        assert_eq!(heads, ["@@ -1,6 +1,5 @@", "@@ -14,6 +13,7 @@"]);
    }

    #[test]
    fn texts_that_are_too_long_are_refused() {
        let long = "x\n".repeat(6000);
        assert_eq!(unified(("a", &long), ("b", &long), &[]), None);
    }

    proptest! {
        /// Without names of values, what is kept and removed is the old text, what is kept and added the new one.
        #[test]
        fn edits_make_one_text_of_the_other(old in "([abc]\n){0,12}", new in "([abc]\n){0,12}") {
            let (a, b): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
            let edits = pair_values(&a, &b, align(&a, &b).unwrap(), &[]);
            let olds: Vec<usize> = edits.iter().filter_map(|e| match *e {
                Edit::Keep(i, _) | Edit::Remove(i) => Some(i),
                Edit::Add(_) => None,
            }).collect();
            let news: Vec<usize> = edits.iter().filter_map(|e| match *e {
                Edit::Keep(_, j) | Edit::Add(j) => Some(j),
                Edit::Remove(_) => None,
            }).collect();
            prop_assert_eq!(olds, (0..a.len()).collect::<Vec<_>>());
            prop_assert_eq!(news, (0..b.len()).collect::<Vec<_>>());
            let kept_equal = edits.iter().all(|e| !matches!(*e, Edit::Keep(i, j) if a[i] != b[j]));
            prop_assert!(kept_equal);
            prop_assert_eq!(unified(("a", &old), ("b", &new), &[]).unwrap().is_empty(), old == new);
        }
    }
}
