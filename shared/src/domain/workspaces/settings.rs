//! A workspace's settings: how long its audit log is kept, and what its agents do unless told otherwise. They are fields
//! of the workspace itself, so that whoever has proved a permission in it has them without another read, and share its
//! version.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::Workspace;
use crate::app::App;
use crate::context::Context;
use crate::domain::current::{is_among, on_expected};
use crate::domain::manner::Tone;
use crate::domain::merge::Patch;
use crate::domain::plans::Plan;
use crate::domain::runtime::catalogue;
use crate::domain::users::Account;
use crate::domain::users::fields::Locale;
use crate::error::{Error, Result};
use crate::reply::Reply;
use crate::store::record::{Action, Scope};
use crate::store::tx::OnceKey;
use crate::store::{Cond, Entity, Update, keys};

/// Days that audit records are kept where nobody said otherwise.
pub const AUDIT_RETENTION_DAYS: u16 = 90;

/// The shortest that a workspace may choose: nobody gets rid of what they did last week.
const LEAST_RETENTION_DAYS: u16 = 30;

/// The longest, seven years.
const MOST_RETENTION_DAYS: u16 = 2_555;

pub(super) fn audit_retention_days() -> u16 {
    AUDIT_RETENTION_DAYS
}

/// A workspace's settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SettingsView {
    /// Days that audit records are kept, as far as the plan goes. A change holds for records that are written from then on.
    #[schema(minimum = 30, maximum = 2_555)]
    pub audit_retention_days: u16,
    /// The model of agents that name none; the catalogue's default when `null`.
    #[schema(required)]
    pub default_model: Option<String>,
    /// How its agents speak.
    pub default_tone: Tone,
    /// The language (BCP 47) that its agents answer in unless the user writes another one; the user's when `null`.
    #[schema(required)]
    pub default_locale: Option<String>,
    /// The workspace's last change.
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: Timestamp,
    /// The workspace's version; the ETag says the same.
    pub version: u64,
}

impl From<&Workspace> for SettingsView {
    fn from(workspace: &Workspace) -> Self {
        Self {
            audit_retention_days: workspace.audit_days(),
            default_model: workspace.default_model.clone(),
            default_tone: workspace.default_tone.unwrap_or_default(),
            default_locale: workspace.default_locale.clone(),
            updated_at: workspace.updated_at,
            version: workspace.version,
        }
    }
}

/// Changes of settings; what is absent stays, `null` sets the default again (RFC 7396).
#[derive(Debug, Clone, Default, PartialEq, Deserialize, garde::Validate, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[garde(allow_unvalidated)] // checked with what the types do not say in `check`
pub struct SettingsPatch {
    /// Days that audit records are kept, 30 to 2,555; to 365 on the plan Personal.
    #[serde(default)]
    #[schema(value_type = Option<u16>, minimum = 30, maximum = 2_555)]
    audit_retention_days: Patch<u16>,
    /// The model of agents that name none, one of the catalogue.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    default_model: Patch<String>,
    /// How its agents speak.
    #[serde(default)]
    #[schema(value_type = Option<Tone>)]
    default_tone: Patch<Tone>,
    /// The language that its agents answer in.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    default_locale: Patch<Locale>,
}

impl SettingsPatch {
    fn check(&self, plan: Plan) -> Result<()> {
        let bounds = LEAST_RETENTION_DAYS..=MOST_RETENTION_DAYS;
        if matches!(&self.audit_retention_days, Patch::Set(days) if !bounds.contains(days)) {
            return Err(Error::field(
                "auditRetentionDays",
                format!("must be from {LEAST_RETENTION_DAYS} to {MOST_RETENTION_DAYS}"),
            ));
        }
        let longest = plan.audit_days();
        if matches!(&self.audit_retention_days, Patch::Set(days) if *days > longest) {
            return Err(Error::PlanLimit {
                what: "days that audit records are kept",
                max: u32::from(longest),
            });
        }
        match &self.default_model {
            // Without a price it could not be used.
            Patch::Set(model) if catalogue::find(model).is_none() => Err(Error::field(
                "defaultModel",
                format!("there is no model {model:?}"),
            )),
            _ => Ok(()),
        }
    }

    fn apply(self, to: &mut Workspace) {
        to.audit_retention_days = self
            .audit_retention_days
            .value(to.audit_retention_days, audit_retention_days);
        self.default_model.apply(&mut to.default_model);
        self.default_tone.apply(&mut to.default_tone);
        self.default_locale.apply(&mut to.default_locale);
    }
}

/// Changes a workspace's settings. `expected` are the versions that the caller knows (If-Match).
///
/// # Errors
/// `Invalid`; `PlanLimit`; `PreconditionFailed` when the workspace is at none of the expected versions; `SubscriptionRequired` when
/// the owner's account is read-only; `NotFound` when it was deleted meanwhile.
pub async fn update(
    app: &App,
    context: &Context,
    (workspace, expected): (&Workspace, Option<&[u64]>),
    once: Option<&OnceKey>,
    patch: &SettingsPatch,
) -> Result<Reply<SettingsView>> {
    patch.check(workspace.plan)?;
    let known = |workspace: &Workspace| is_among(workspace.version, expected);
    on_expected(app.db(), workspace.clone(), known, async |old: Workspace| {
        if !old.is_live() {
            return Err(Error::NotFound);
        }
        let mut new = old.clone();
        patch.clone().apply(&mut new);
        let changed = difference(&old, &new);
        if changed.is_empty() {
            let reply = Reply::ok(&SettingsView::from(&new))?;
            return match once {
                Some(once) => app.tx(context).once(Some(once)).commit(reply).await,
                None => Ok(reply),
            };
        }
        new.updated_at = context.now;
        new.version += 1;
        app.tx(context)
            .update(write(&old, &new)?, || Error::PreconditionFailed)
            .check(
                keys::account(old.owner_id),
                Account::may_write(context.now)?,
                || Error::SubscriptionRequired,
            )
            .audit(
                Action::SettingsUpdated,
                Scope::Workspace(old.id),
                old.id,
                Value::Object(changed),
            )?
            .once(once)
            .commit(Reply::ok(&SettingsView::from(&new))?)
            .await
    })
    .await
}

/// Field by field, as agents are counted in the same item meanwhile.
fn write(old: &Workspace, new: &Workspace) -> Result<Update> {
    let update = Update::of(new.key())
        .set("auditRetentionDays", new.audit_retention_days)?
        .set("updatedAt", new.updated_at)?
        .set("version", new.version)?
        .when(Cond::eq("version", old.version)?.and(Cond::absent("deletedAt")));
    let update = or_none(update, "defaultModel", new.default_model.as_ref())?;
    let update = or_none(update, "defaultTone", new.default_tone)?;
    or_none(update, "defaultLocale", new.default_locale.as_ref())
}

fn or_none(update: Update, name: &str, value: Option<impl Serialize>) -> Result<Update> {
    match value {
        Some(value) => update.set(name, value),
        None => Ok(update.remove(name)),
    }
}

fn difference(old: &Workspace, new: &Workspace) -> Map<String, Value> {
    let fields = [
        (
            "auditRetentionDays",
            json!(old.audit_retention_days),
            json!(new.audit_retention_days),
        ),
        ("defaultModel", json!(old.default_model), json!(new.default_model)),
        ("defaultTone", json!(old.default_tone), json!(new.default_tone)),
        (
            "defaultLocale",
            json!(old.default_locale),
            json!(new.default_locale),
        ),
    ];
    let changed = fields.into_iter().filter(|(_, before, after)| before != after);
    changed
        .map(|(name, before, after)| (name.to_owned(), json!({"old": before, "new": after})))
        .collect()
}
