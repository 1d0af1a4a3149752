//! Profile fields that are more than text, parsed once.

use jiff::tz::TimeZoneDatabase;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use url::Url;

macro_rules! field {
    ($(#[$doc:meta])+ $name:ident, $parse:path, $refusal:literal, $example:literal) => {
        $(#[$doc])+
        #[derive(Debug, Clone, PartialEq, Eq, utoipa::ToSchema)]
        #[schema(value_type = String, example = $example)]
        pub struct $name(String);

        impl $name {
            /// The value that `text` is, if it is one.
            pub fn parse(text: &str) -> Option<Self> {
                $parse(text).map(Self)
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> Self {
                value.0
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
                Self::parse(&text).ok_or_else(|| D::Error::custom($refusal))
            }
        }
    };
}

field!(
    /// An `https` address of a picture, at most 2,048 characters.
    AvatarUrl,
    avatar_url,
    "must be an https URL of at most 2,048 characters",
    "https://example.com/me.png"
);
field!(
    /// A language tag: well-formed as BCP 47 has it, without a look into the registry.
    Locale,
    locale,
    "must be a BCP 47 language tag, such as en or de-AT",
    "de-AT"
);
field!(
    /// A time zone of the IANA database, spelled as it spells it.
    Timezone,
    timezone,
    "must be an IANA time zone, such as Europe/Vienna",
    "Europe/Vienna"
);

field!(
    /// An e-mail address that mail can be sent to, in lower case: what browsers take for one (HTML Standard, valid e-mail
    /// address), at most 254 characters.
    EmailAddress,
    email_address,
    "must be an e-mail address",
    "ann@example.com"
);

impl EmailAddress {
    /// The address.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The mailbox that mail to it ends in, as far as its spelling tells: without a `+tag`, and at Gmail without dots. For
    /// limits alone: who has an account is told apart by the address itself.
    pub fn mailbox(&self) -> String {
        let (local, domain) = self.0.split_once('@').unwrap_or((&self.0, ""));
        let name = local.split('+').next().filter(|n| !n.is_empty()).unwrap_or(local);
        match domain {
            "gmail.com" | "googlemail.com" => format!("{}@gmail.com", name.replace('.', "")),
            _ => format!("{name}@{domain}"),
        }
    }
}

/// The domain as mail servers know it: a name in other letters as IDNA writes it (UTS 46), so that both spellings are one.
fn mail_domain(domain: &str) -> Option<String> {
    if domain.is_ascii() {
        return Some(domain.to_owned());
    }
    // The URL standard's host would decode these first.
    match url::Host::parse(domain).ok().filter(|_| !domain.contains('%'))? {
        url::Host::Domain(name) => Some(name),
        url::Host::Ipv4(_) | url::Host::Ipv6(_) => None,
    }
}

fn email_address(text: &str) -> Option<String> {
    let (local, domain) = text.trim().split_once('@')?;
    let email = format!("{local}@{}", mail_domain(domain)?).to_ascii_lowercase();
    let (local, domain) = email.split_once('@')?;
    let odd = |c: u8| !c.is_ascii_alphanumeric() && !b".!#$%&'*+/=?^_`{|}~-".contains(&c);
    let label = |l: &str| {
        let inner = l.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-');
        (1..=63).contains(&l.len()) && inner && !l.starts_with('-') && !l.ends_with('-')
    };
    let fits = (1..=64).contains(&local.len()) && email.len() <= 254 && !local.bytes().any(odd);
    (fits && domain.split('.').all(label)).then_some(email)
}

fn avatar_url(text: &str) -> Option<String> {
    let url = Url::parse(text).ok()?;
    let fits = url.scheme() == "https" && url.username().is_empty() && url.password().is_none();
    (fits && url.as_str().len() <= 2_048).then(|| url.into())
}

/// RFC 5646 §2.1, without grandfathered tags: language, then extended languages, script, region, variants, extensions
/// and a private part, each at most where the grammar has it.
fn locale(text: &str) -> Option<String> {
    let letters = |s: &str| s.bytes().all(|b| b.is_ascii_alphabetic());
    let digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    let mixed = |s: &str| s.bytes().all(|b| b.is_ascii_alphanumeric());
    let mut subtags = text.split('-').peekable();
    let language = subtags
        .next()
        .filter(|s| (2..=8).contains(&s.len()) && letters(s))?;
    if language.len() <= 3 {
        (0..3).try_for_each(|_| subtags.next_if(|s| s.len() == 3 && letters(s)).map(drop));
    }
    subtags.next_if(|s| s.len() == 4 && letters(s));
    subtags.next_if(|s| (s.len() == 2 && letters(s)) || (s.len() == 3 && digits(s)));
    let is_variant = |s: &&str| mixed(s) && ((5..=8).contains(&s.len()) || (s.len() == 4 && digits(&s[..1])));
    while subtags.next_if(is_variant).is_some() {}
    while let Some(singleton) = subtags.next() {
        let private = singleton.eq_ignore_ascii_case("x");
        let least = if private { 1 } else { 2 };
        let belongs = |s: &&str| mixed(s) && (least..=8).contains(&s.len());
        if singleton.len() != 1 || !mixed(singleton) || subtags.next_if(belongs).is_none() {
            return None;
        }
        while subtags.next_if(belongs).is_some() {}
    }
    (text.len() <= 35).then(|| text.to_owned())
}

fn timezone(text: &str) -> Option<String> {
    let zone = TimeZoneDatabase::bundled().get(text).ok()?;
    zone.iana_name().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_what_a_browser_takes_for_one() {
        let parsed = |text: &str| EmailAddress::parse(text).map(String::from);
        assert_eq!(parsed(" Ann@Example.COM "), Some("ann@example.com".into()));
        assert_eq!(
            parsed("o'neil+x@sub.example.co"),
            Some("o'neil+x@sub.example.co".into())
        );
        for spelling in ["a@exämple.com", "A@EXÄMPLE.com", "a@xn--exmple-cua.com"] {
            assert_eq!(
                parsed(spelling),
                Some("a@xn--exmple-cua.com".into()),
                "{spelling}"
            );
        }
        let long = format!("{}@example.com", "a".repeat(65));
        for text in [
            "",
            "ann",
            "@example.com",
            "ann@",
            "a@b@c.example",
            "a b@example.com",
            "a@exa mple.com",
            "a@-x.example",
            "a@x-.example",
            "a@.example",
            "a@example.",
            "<a@example.com>",
            "a@example.com\nBcc: b@example.com",
            "a\0@example.com",
            "ä@example.com",
            "a@exämple.com%2eevil.example",
            "a@１２７.0.0.1",
            "a,b@example.com",
            "\"a\"@example.com",
            &long,
        ] {
            assert_eq!(parsed(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_mailbox_is_one_however_its_address_is_decorated() {
        let mailbox = |text: &str| EmailAddress::parse(text).unwrap().mailbox();
        assert_eq!(mailbox("ann+1@example.com"), "ann@example.com");
        assert_eq!(mailbox("a.n.n@example.com"), "a.n.n@example.com");
        assert_eq!(mailbox("A.n.n+x+y@GoogleMail.com"), mailbox("ann@gmail.com"));
        assert_eq!(mailbox("+@example.com"), "+@example.com");
    }

    #[test]
    fn an_avatar_comes_over_https() {
        assert!(AvatarUrl::parse("https://example.com/a.png?s=96").is_some());
        let long = format!("https://example.com/{}", "a".repeat(2_048));
        for text in [
            "",
            "http://example.com/a.png",
            "javascript:alert(1)",
            "//example.com/a",
            "https://u:p@example.com/",
            &long,
        ] {
            assert_eq!(AvatarUrl::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_locale_is_a_well_formed_tag() {
        for text in [
            "en",
            "de-AT",
            "zh-Hant-TW",
            "sr-Latn",
            "es-419",
            "de-CH-1996",
            "en-x-twain",
        ] {
            assert!(Locale::parse(text).is_some(), "{text}");
        }
        for text in [
            "",
            "e",
            "english-is-it",
            "de_AT",
            "de-",
            "-de",
            "de--AT",
            "d3",
            "en-x",
            "дe",
            &"en-".repeat(20),
        ] {
            assert_eq!(Locale::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_time_zone_is_one_that_exists_and_is_spelled_as_in_the_database() {
        let name = |text| Timezone::parse(text).map(String::from);
        assert_eq!(name("europe/vienna").as_deref(), Some("Europe/Vienna"));
        assert_eq!(name("UTC").as_deref(), Some("UTC"));
        for text in [
            "",
            "Europe/Atlantis",
            "+02:00",
            "CEST4",
            "../etc/passwd",
            "Europe/Vienna ",
        ] {
            assert_eq!(name(text), None, "{text}");
        }
    }
}
