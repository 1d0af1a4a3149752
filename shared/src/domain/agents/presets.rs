//! The presets that agents are made from: forty, ten in each domain. The table is in the binary, so that it costs
//! nothing at start; `shared/presets/presets.tsv` is what people edit and review, and a test compares the two.

use serde::{Deserialize, Serialize};

use crate::error::{Error, FieldError, Result};

/// What a preset is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum PresetDomain {
    /// One person's life.
    Lifestyle,
    /// A company.
    Business,
    /// An agency's work for its clients.
    Agency,
    /// Software.
    Developer,
}

/// A role that an agent can be made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Preset {
    /// Unique in all domains; agents name it, so that it never changes.
    pub id: &'static str,
    /// What it is about.
    pub domain: PresetDomain,
    /// The name that an agent gets unless its maker says another.
    pub name: &'static str,
    /// The icon's name (Lucide).
    pub icon: &'static str,
    /// One line for the list.
    pub description: &'static str,
    /// The role prompt: what the user pays for, so never in a public answer.
    pub prompt: &'static str,
}

/// The presets with these ids, in this order; one may appear more than once.
///
/// # Errors
/// `Invalid`, naming each id of the list `field` that is no preset's.
pub fn named(field: &str, ids: &[String]) -> Result<Vec<&'static Preset>> {
    let unknown = |n: usize, id: &str| FieldError {
        field: format!("{field}[{n}]"),
        message: format!("there is no preset {id:?}"),
    };
    let found: Vec<_> = ids.iter().map(|id| by_id(id)).collect();
    let faults: Vec<_> = (ids.iter().zip(&found).enumerate())
        .filter(|(_, (_, preset))| preset.is_none())
        .map(|(n, (id, _))| unknown(n, id))
        .collect();
    if !faults.is_empty() {
        return Err(Error::Invalid(faults));
    }
    Ok(found.into_iter().flatten().collect())
}

macro_rules! presets {
    ($($domain:ident $folder:literal { $($id:literal $icon:literal $name:literal: $description:literal),+ $(,)? })+) => {
        /// Every preset, in the order in which they are shown.
        pub static PRESETS: [Preset; 40] = [$($(
            Preset {
                id: $id,
                domain: PresetDomain::$domain,
                name: $name,
                icon: $icon,
                description: $description,
                prompt: include_str!(concat!("../../../presets/", $folder, "/", $id, ".md")),
            },
        )+)+];
    };
}

/// The preset with this id.
pub fn by_id(id: &str) -> Option<&'static Preset> {
    PRESETS.iter().find(|preset| preset.id == id)
}

presets! {
    Lifestyle "lifestyle" {
        "coach" "target" "Life Coach":
            "Turns a vague wish into one clear goal, a next step you believe in, and a check on how it went.",
        "psychologist" "brain" "Mindspace":
            "A calm place to sort out thoughts and feelings, with exercises from CBT and ACT. Not a replacement for therapy.",
        "finance" "wallet" "Finance Advisor":
            "Makes your budget, debts and savings goals clear, with every calculation shown. Education, not investment advice.",
        "learning" "book-open" "Learning Mentor":
            "Finds what you do not know yet and builds a study plan with practice, quizzes and reviews that make it stick.",
        "productivity" "list-checks" "Workflow Assistant":
            "Sorts your brain dump into next actions and a day that fits the hours you really have.",
        "fitness" "dumbbell" "Fitness Coach":
            "Writes training plans for your week, equipment and level, with clear progressions and safety checks first.",
        "muse" "palette" "Creative Muse":
            "Gives you unexpected starting points, useful constraints and honest feedback on creative work in any medium.",
        "career" "briefcase" "Career Mentor":
            "Sharpens your CV, rehearses interviews with you and prepares the talk about promotion, offer or salary.",
        "travel" "map" "Travel Planner":
            "Plans day-by-day trips with realistic travel times, a budget, a booking list and a plan for rain.",
        "home" "home" "Home Organizer":
            "Designs storage, tidying and chore routines that suit your rooms, your time and the people you live with.",
    }
    Business "business" {
        "ceo" "crown" "CEO Advisor":
            "Tests your biggest decisions from every side and writes them up as one-page memos, board updates and plans.",
        "cto" "cpu" "CTO Architect":
            "Weighs build or buy, technical debt, platforms and team structure, and explains each choice in business terms.",
        "cmo" "megaphone" "CMO Strategist":
            "Finds where growth is stuck, then sets audience, positioning, channels and budget with the numbers behind them.",
        "cfo" "pie-chart" "CFO Analyst":
            "Builds cash forecasts, scenarios and unit economics, with every assumption listed and each formula shown.",
        "ops" "workflow" "Ops Manager":
            "Maps how work really flows, finds the bottleneck and writes procedures, checklists and service measures.",
        "hr" "users" "People Partner":
            "Helps managers hire fairly, give feedback and handle conflict, with scripts, interview kits and clear records.",
        "pm" "boxes" "Product Manager":
            "Turns requests into real problems, priorities, short PRDs and user stories your team can build from.",
        "support" "inbox" "Support Desk":
            "Drafts clear, kind replies to customers, sorts tickets by urgency and prepares complete hand-overs.",
        "sales" "handshake" "Sales Coach":
            "Prepares your calls, questions your deals, rehearses objections and plays the buyer until you are ready.",
        "analytics" "chart-line" "Analytics Partner":
            "Explains why a metric moved and whether a test worked, with readable SQL and a plain statement of certainty.",
    }
    Agency "agency" {
        "account-manager" "user-check" "Account Manager":
            "Keeps clients informed and scope under control: status mails, change orders, reviews and hard replies.",
        "brand-strategist" "sparkles" "Brand Strategist":
            "Finds a position rivals would struggle to copy and turns it into a brand platform, messages and voice rules.",
        "content-director" "pen-tool" "Content Director":
            "Plans what is worth publishing, writes briefs, edits drafts with reasons and checks the facts.",
        "social-media" "share-2" "Social Media Manager":
            "Plans calendars, writes posts for each platform and helps you answer comments, also in a crisis.",
        "paid-ads" "target" "Paid Ads Specialist":
            "Plans campaigns from your margin up, audits accounts and says which spend to change and which to leave alone.",
        "seo-specialist" "search" "SEO Specialist":
            "Audits sites, maps keywords to pages and writes fixes as tickets your developers can act on.",
        "email-marketer" "mail" "Email Marketer":
            "Designs email flows, writes subject lines and copy, and checks what could send your mail to spam.",
        "copywriter" "file-text" "Copywriter":
            "Writes and rewrites pages, ads and product text in plain, specific words, and lists the claims to verify.",
        "analytics-consultant" "bar-chart-3" "Analytics Consultant":
            "Plans tracking, finds out why reports disagree and explains which figures you can rely on.",
        "project-coordinator" "calendar" "Project Coordinator":
            "Builds timelines, drafts reminders and writes status reports, so that everyone knows what is next and late.",
    }
    Developer "developer" {
        "architect" "git-branch" "System Architect":
            "Designs services, data and boundaries for your load and team, with diagrams, trade-offs and failure cases.",
        "code-reviewer" "file-code" "Code Reviewer":
            "Reviews code for bugs, security and clarity, ranked by severity, each with a reason and a fix.",
        "devops" "server" "DevOps Engineer":
            "Helps with pipelines, infrastructure and incidents, giving commands with their risk, a check and a way back.",
        "security" "shield" "Security Analyst":
            "Finds and fixes weaknesses in systems you own: threat models, reviews, triage and incident help. Defensive only.",
        "qa-engineer" "check-circle" "QA Engineer":
            "Finds the tests that matter, from edge cases to exploratory charters, and writes bug reports that get fixed.",
        "api-designer" "plug" "API Designer":
            "Designs consistent APIs with clear errors, paging and versioning, delivered as OpenAPI with examples.",
        "database-admin" "database" "Database Admin":
            "Models data, reads query plans, and plans live schema changes, backups and restore tests.",
        "performance" "zap" "Performance Engineer":
            "Finds what makes software slow through measurement and ranks the fixes by gain and effort.",
        "documentation" "book" "Tech Writer":
            "Writes tutorials, references and runbooks readers can follow, and marks whatever still needs checking.",
        "automation" "repeat" "Automation Specialist":
            "Automates repetitive work across your tools, with error handling, approvals and an off switch.",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    fn folder() -> &'static Path {
        Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/presets"))
    }

    #[test]
    fn the_table_is_the_one_in_presets_tsv() {
        let text = fs::read_to_string(folder().join("presets.tsv")).unwrap();
        let listed: Vec<Vec<&str>> = text
            .lines()
            .skip(1)
            .map(|line| line.split('\t').collect())
            .collect();
        let compiled: Vec<Vec<String>> = PRESETS
            .iter()
            .map(|p| {
                let domain = serde_json::to_value(p.domain).unwrap();
                [p.id, domain.as_str().unwrap(), p.name, p.icon, p.description]
                    .map(str::to_owned)
                    .to_vec()
            })
            .collect();
        assert_eq!(compiled, listed);
    }

    #[test]
    fn every_prompt_file_is_a_presets_and_says_something() {
        let mut files = BTreeSet::new();
        for domain in fs::read_dir(folder())
            .unwrap()
            .flatten()
            .filter(|entry| entry.path().is_dir())
        {
            for file in fs::read_dir(domain.path()).unwrap().flatten() {
                files.insert(
                    file.path()
                        .strip_prefix(folder())
                        .unwrap()
                        .to_string_lossy()
                        .into_owned(),
                );
            }
        }
        let used: BTreeSet<String> = PRESETS
            .iter()
            .map(|p| {
                format!(
                    "{}/{}.md",
                    serde_json::to_value(p.domain).unwrap().as_str().unwrap(),
                    p.id
                )
            })
            .collect();
        assert_eq!(files, used);
        let short: Vec<_> = PRESETS
            .iter()
            .filter(|p| p.prompt.trim().len() < 500)
            .map(|p| p.id)
            .collect();
        assert_eq!(short, Vec::<&str>::new());
    }

    #[test]
    fn ids_are_unique_and_each_domain_has_ten() {
        let ids: BTreeSet<_> = PRESETS.iter().map(|p| p.id).collect();
        assert_eq!(ids.len(), PRESETS.len());
        for domain in [
            PresetDomain::Lifestyle,
            PresetDomain::Business,
            PresetDomain::Agency,
            PresetDomain::Developer,
        ] {
            assert_eq!(
                PRESETS.iter().filter(|p| p.domain == domain).count(),
                10,
                "{domain:?}"
            );
        }
        assert_eq!(by_id("ceo").map(|p| p.domain), Some(PresetDomain::Business));
        assert_eq!(by_id("nobody"), None);
    }
}
