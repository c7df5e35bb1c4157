//! "Did you mean": the nearest of the words that would have been right.

use crate::topology::spelling::closest;

/// The help line for a word that is none of `candidates`: the nearest one, or all of them.
pub(super) fn help<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> String {
    let candidates: Vec<&str> = candidates.into_iter().collect();
    match closest(word, candidates.iter().copied()) {
        Some(candidate) => format!("did you mean `{candidate}`?"),
        None if candidates.is_empty() => "there is none".into(),
        None if candidates.len() > SHOWN => {
            format!("it is one of `{}`, … ({} in all)", candidates[..SHOWN].join("`, `"), candidates.len())
        }
        None => format!("it is one of `{}`", candidates.join("`, `")),
    }
}

const SHOWN: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_lists_the_words_where_none_is_near() {
        assert_eq!(help("x", ["up", "down"]), "it is one of `up`, `down`");
        assert_eq!(help("x", []), "there is none");
    }
}
