//! What mails say. Each says the same as text and as HTML; nothing is loaded from anywhere, so no picture tells that it
//! was read.

use super::Letter;
use crate::html::escaped;
use crate::ports::mail::Mail;

const SHELL: &str = include_str!("letter.html");

impl Letter {
    /// The mail.
    pub(super) fn written(&self, from: &str, to: &str) -> Mail {
        match self {
            Self::MagicLink { link, minutes } => Mail {
                from: from.to_owned(),
                to: to.to_owned(),
                subject: "Sign in to Camarad".into(),
                text: magic_link_text(to, link, *minutes),
                html: magic_link_html(to, link, *minutes),
            },
        }
    }
}

fn magic_link_text(to: &str, link: &str, minutes: u32) -> String {
    format!(
        "Hello,\n\n\
         somebody, we hope you, asked to sign in to Camarad as {to}.\n\n\
         Open this link and confirm on the page that you see:\n\n\
         {link}\n\n\
         It works once, for {minutes} minutes.\n\n\
         If it was not you, leave this mail alone: without the link nobody gets in.\n\n\
         Camarad\n"
    )
}

fn magic_link_html(to: &str, link: &str, minutes: u32) -> String {
    let (to, link) = (escaped(to), escaped(link));
    let body = format!(
        "<h1>Sign in to Camarad</h1>\
         <p>Somebody, we hope you, asked to sign in as <strong>{to}</strong>.</p>\
         <p><a class=\"button\" href=\"{link}\">Sign in</a></p>\
         <p>The link works once, for {minutes} minutes. If the button does not work, open this address:</p>\
         <p class=\"address\">{link}</p>\
         <p class=\"small\">If it was not you, leave this mail alone: without the link nobody gets in.</p>"
    );
    SHELL.replace("{{body}}", &body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mail_says_the_same_as_text_and_as_html_and_nothing_in_it_is_markup_of_somebody_elses() {
        let letter = Letter::MagicLink {
            link: "https://api.example/verify?token=b.x\"><script>&y".into(),
            minutes: 15,
        };
        let mail = letter.written("camarad@example.com", "o'neil&co@example.com");
        assert!(
            mail.text
                .contains("https://api.example/verify?token=b.x\"><script>&y")
        );
        assert!(mail.text.contains("15 minutes") && mail.html.contains("15 minutes"));
        assert!(mail.html.contains("o&#39;neil&amp;co@example.com"));
        assert!(!mail.html.contains("<script>") && !mail.html.contains("{{"));
        assert!(!mail.html.contains("<img") && !mail.html.contains("http-equiv=\"refresh\""));
    }
}
