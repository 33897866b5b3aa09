//! Did you mean.

/// From how many letters on a beginning of a name stands for the name.
const BEGINNING_MIN: usize = 5;

/// The candidate that a slip of the fingers would turn into `wrong`, if there is one.
pub fn closest<'a>(wrong: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let plain = |text: &str| text.to_lowercase().replace(['-', '_', ' '], "");
    let wanted = plain(wrong);
    let limit = (wanted.chars().count() / 3).clamp(1, 3);
    let mut begins = None;
    let mut best: Option<(usize, &'a str)> = None;
    for candidate in candidates {
        let known = plain(candidate);
        if wanted.chars().count() >= BEGINNING_MIN && known.starts_with(&wanted) {
            begins = begins.or(Some(candidate));
        }
        let distance = distance(&wanted, &known);
        if distance <= limit && best.is_none_or(|(least, _)| distance < least) {
            best = Some((distance, candidate));
        }
    }
    best.map(|(_, candidate)| candidate).or(begins)
}

/// How many letters to put in, take out, change, or swap with the next.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for (i, row) in rows.iter_mut().enumerate() {
        row[0] = i;
    }
    rows[0] = (0..=b.len()).collect();
    for i in 1..=a.len() {
        for j in 1..=b.len() {
            let change = usize::from(a[i - 1] != b[j - 1]);
            let mut best =
                (rows[i - 1][j] + 1).min(rows[i][j - 1] + 1).min(rows[i - 1][j - 1] + change);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = best;
        }
    }
    rows[a.len()][b.len()]
}
