//! What mails say. Each says the same as text and as HTML; nothing is loaded from anywhere, so no picture tells that it
//! was read.

use super::Letter;
use crate::html::escaped;
use crate::ports::mail::Mail;

const SHELL: &str = include_str!("letter.html");

/// What differs between the letters that bring a link.
struct Words {
    subject: &'static str,
    /// Who asked for what; the address comes after it.
    asked: &'static str,
    button: &'static str,
    /// What to do if it was not the reader who asked.
    otherwise: &'static str,
}

const SIGN_IN: Words = Words {
    subject: "Sign in to Camarad",
    asked: "somebody, we hope you, asked to sign in to Camarad as",
    button: "Sign in",
    otherwise: "If it was not you, leave this mail alone: without the link nobody gets in.",
};

const STEP_UP: Words = Words {
    subject: "Confirm that it is you",
    asked: "somebody, we hope you, is about to change something important in Camarad, signed in as",
    button: "Confirm",
    otherwise: "If it was not you, do not open the link, and end your sessions in Camarad's security settings.",
};

impl Letter {
    /// The mail.
    pub(super) fn written(&self, from: &str, to: &str) -> Mail {
        let (words, link, minutes) = match self {
            Self::Guessed => return guessed(from, to),
            Self::MagicLink { link, minutes } => (&SIGN_IN, link, *minutes),
            Self::StepUp { link, minutes } => (&STEP_UP, link, *minutes),
        };
        Mail {
            from: from.to_owned(),
            to: to.to_owned(),
            subject: words.subject.into(),
            text: words.text(to, link, minutes),
            html: words.html(to, link, minutes),
        }
    }
}

/// Brings no link: what there is to do is done in the settings, however one gets there.
fn guessed(from: &str, to: &str) -> Mail {
    const SUBJECT: &str = "Somebody is guessing your sign-in code";
    let happened = "somebody signed in to Camarad as";
    let then = "and then entered wrong codes of the authenticator app several times. Nobody got in, and there is a wait \
                before the next try.";
    let advice = "If it was you, sign in with a recovery code, or wait. If it was not, somebody can open your mail, or \
                  your account at the provider that you sign in with: change that password now, and end your other \
                  sessions in Camarad's security settings.";
    let body = format!(
        "<h1>{SUBJECT}</h1><p>Hello, {happened} <strong>{}</strong> {then}</p><p>{advice}</p>",
        escaped(to)
    );
    Mail {
        from: from.to_owned(),
        to: to.to_owned(),
        subject: SUBJECT.into(),
        text: format!("Hello,\n\n{happened} {to}, {then}\n\n{advice}\n\nCamarad\n"),
        html: SHELL.replace("{{body}}", &body),
    }
}

impl Words {
    fn text(&self, to: &str, link: &str, minutes: u32) -> String {
        let Self { asked, otherwise, .. } = self;
        format!(
            "Hello,\n\n\
             {asked} {to}.\n\n\
             Open this link and confirm on the page that you see:\n\n\
             {link}\n\n\
             It works once, for {minutes} minutes.\n\n\
             {otherwise}\n\n\
             Camarad\n"
        )
    }

    fn html(&self, to: &str, link: &str, minutes: u32) -> String {
        let (to, link) = (escaped(to), escaped(link));
        let Self {
            subject,
            asked,
            button,
            otherwise,
        } = self;
        let body = format!(
            "<h1>{subject}</h1>\
             <p>Hello, {asked} <strong>{to}</strong>.</p>\
             <p><a class=\"button\" href=\"{link}\">{button}</a></p>\
             <p>The link works once, for {minutes} minutes. If the button does not work, open this address:</p>\
             <p class=\"address\">{link}</p>\
             <p class=\"small\">{otherwise}</p>"
        );
        SHELL.replace("{{body}}", &body)
    }
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
