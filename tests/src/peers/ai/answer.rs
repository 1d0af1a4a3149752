//! What the peer says, and how it counts it.

use super::call::Call;

/// Tokens of a text: its UTF-8 bytes divided by four, rounded up.
///
/// A rule of our own, as the providers' tokenizers are large and change: what matters to a test is that it can compute
/// the exact bill, not that "hello" is one token.
pub fn count_tokens(text: &str) -> u64 {
    text.len().div_ceil(4) as u64
}

/// The composed answer to a call, before `max_tokens` cuts it: the same call always gets the same words.
pub fn compose(call: &Call) -> String {
    let question = excerpt(call.last_user(), 12);
    let role = role_name(call.system());
    let advice = ADVICE[pick(call.last_user(), ADVICE.len())];
    let context = match call.earlier_turns() {
        0 => "This is where we start, so tell me early if I am on the wrong track.".to_owned(),
        1 => "I have kept our earlier turn in mind.".to_owned(),
        n => format!("I have kept our {n} earlier turns in mind."),
    };
    format!("You asked: “{question}” As your {role}, here is how I would go about it. {advice} {context}")
}

/// Middle parts of the paragraph; the question picks one.
const ADVICE: [&str; 4] = [
    "First, write down in one sentence what a good result looks like – most detours begin where that sentence is missing. \
     Then pick the smallest step that would show whether you are on the right way, and finish it today. \
     Look at what came of it, keep what worked, and choose the next step from there.",
    "Start with what you already know: list the three facts you are sure of and the one you are guessing. \
     Test the guess first, because it is the one that can still surprise you. \
     Once it holds, the rest is a plan with dates rather than a hope.",
    "Split it in two: what has to be decided now, and what can wait until you know more. \
     Decide the first part with the people it touches – fifteen minutes are enough – and note why. \
     The second part gets a date, so that it neither nags you nor gets lost.",
    "Think of the last time something like this went well, and ask what was different then. \
     Take one of those differences and bring it back this week, on purpose and on a small scale. \
     If it helps, make it a habit; if it does not, you have lost an hour and learned something.",
];

/// A stable choice by content (FNV-1a).
fn pick(text: &str, among: usize) -> usize {
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    // The low bits of FNV hardly mix, so the choice is taken from the high ones.
    (hash >> 32) as usize % among
}

/// The first `words` words, with an ellipsis if there were more.
fn excerpt(text: &str, words: usize) -> String {
    let mut all = text.split_whitespace();
    let first: Vec<&str> = all.by_ref().take(words).collect();
    let more = if all.next().is_some() { " …" } else { "" };
    format!("{}{more}", first.join(" "))
}

/// The role that a system prompt's first words name: "You are the Finance Advisor of …" gives "Finance Advisor".
fn role_name(system: &str) -> String {
    let first = system
        .lines()
        .map(str::trim)
        .find(|line| !line.is_empty())
        .unwrap_or_default();
    let first = first.trim_start_matches(['#', '*', ' ']);
    let named = ["You are ", "Act as ", "Your role is ", "Role: "]
        .iter()
        .find_map(|opening| first.strip_prefix(opening))
        .unwrap_or(first);
    let bare = ["the ", "a ", "an ", "our "]
        .iter()
        .find_map(|article| named.strip_prefix(article))
        .unwrap_or(named);
    let end = bare
        .find(['.', ',', ';', ':', '(', '–', '—', '!', '?'])
        .unwrap_or(bare.len());
    let words = bare[..end]
        .split_whitespace()
        .take_while(|word| {
            !matches!(
                *word,
                "of" | "who" | "that" | "for" | "at" | "with" | "in" | "and" | "whose"
            )
        })
        .take(5)
        .collect::<Vec<_>>()
        .join(" ");
    if words.is_empty() {
        "assistant".to_owned()
    } else {
        words
    }
}

/// Cuts a text to a number of tokens, at the border of a character. True if something was cut.
///
/// A cut text counts exactly `max_tokens`: at most three bytes are lost to the character's border, which the rounding of
/// [`count_tokens`] gives back.
pub(crate) fn truncate(text: &str, max_tokens: Option<u64>) -> (&str, bool) {
    let limit = max_tokens
        .and_then(|max| usize::try_from(max.saturating_mul(4)).ok())
        .unwrap_or(usize::MAX);
    if text.len() <= limit {
        return (text, false);
    }
    let end = (0..=limit)
        .rev()
        .find(|end| text.is_char_boundary(*end))
        .unwrap_or(0);
    (&text[..end], true)
}

/// Word-like chunks, as a provider streams them: each word goes with the white space before it.
pub(crate) fn chunks(text: &str) -> Vec<&str> {
    let mut starts: Vec<usize> = Vec::new();
    let mut in_word = true;
    for (at, character) in text.char_indices() {
        if character.is_whitespace() && in_word {
            starts.push(at);
        }
        in_word = !character.is_whitespace();
    }
    if starts.first() != Some(&0) && !text.is_empty() {
        starts.insert(0, 0);
    }
    let ends = starts.iter().skip(1).copied().chain([text.len()]);
    starts
        .iter()
        .zip(ends)
        .map(|(start, end)| &text[*start..end])
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn role_names_are_found() {
        assert_eq!(
            role_name("You are the Finance Advisor of Camarad. You …"),
            "Finance Advisor"
        );
        assert_eq!(role_name("\n# Role: Life Coach\nmore"), "Life Coach");
        assert_eq!(
            role_name("You are a senior tax lawyer who never guesses."),
            "senior tax lawyer"
        );
        assert_eq!(role_name(""), "assistant");
    }

    #[test]
    fn excerpts_end_with_an_ellipsis_only_if_cut() {
        assert_eq!(excerpt("  one two\nthree ", 3), "one two three");
        assert_eq!(excerpt("one two three four", 3), "one two three …");
    }

    proptest! {
        #[test]
        fn chunks_join_to_the_text(text in "\\PC{0,80}|[ \\n\\ta-c]{0,40}") {
            prop_assert_eq!(chunks(&text).concat(), text.clone());
            prop_assert!(chunks(&text).iter().all(|chunk| !chunk.is_empty()));
        }

        #[test]
        fn a_cut_text_counts_exactly_its_limit(text in "\\PC{0,80}", max in 0_u64..40) {
            let (cut, was_cut) = truncate(&text, Some(max));
            prop_assert!(text.starts_with(cut));
            prop_assert_eq!(was_cut, count_tokens(&text) > max);
            if was_cut { prop_assert_eq!(count_tokens(cut), max); }
        }
    }
}
