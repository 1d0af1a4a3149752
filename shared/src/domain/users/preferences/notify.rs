//! Which notifications reach a person by which channel.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::domain::merge::{Object, Patch};

// `tt`: what is a `literal` reaches utoipa wrapped, and it would document the variants' names instead.
macro_rules! types {
    ($($(#[$doc:meta])+ $name:ident $text:tt $email:literal $push:literal),+ $(,)?) => {
        /// What people are notified of. Notices of security are none of these: nobody can switch them off.
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema,
        )]
        pub enum NotificationType { $($(#[$doc])+ #[serde(rename = $text)] $name),+ }

        impl NotificationType {
            /// Every type.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// The channels of somebody who never chose any.
            pub fn default_channels(self) -> ChannelsView {
                match self {
                    $(Self::$name => ChannelsView { in_app: true, email: $email, push: $push }),+
                }
            }
        }

        /// Changes, by type; `null` sets the defaults of a type again.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, utoipa::ToSchema)]
        #[serde(deny_unknown_fields)]
        #[allow(non_snake_case)] // one name for variant and field
        pub struct NotificationsPatch {
            $($(#[$doc])+
            #[serde(default, rename = $text)]
            #[schema(value_type = Option<ChannelsPatch>)]
            $name: Patch<Object<ChannelsPatch>>),+
        }

        impl NotificationsPatch {
            fn each(self) -> impl Iterator<Item = (NotificationType, Patch<Object<ChannelsPatch>>)> {
                [$((NotificationType::$name, self.$name)),+].into_iter()
            }
        }
    };
}

types! {
    /// A subscription was renewed.
    SubscriptionRenewed "subscription.renewed" true false,
    /// A subscription ended.
    SubscriptionExpired "subscription.expired" true true,
    /// A trial ends soon.
    SubscriptionTrialEnding "subscription.trial_ending" true true,
    /// An agent takes no more messages this hour.
    AgentLimitReached "agent.limit_reached" false false,
    /// Somebody is invited into a workspace.
    WorkspaceInvitation "workspace.invitation" true true,
    /// 50, 80 or 100 % of the cbT are used.
    UsageQuotaWarning "usage.quota_warning" true true,
    /// A message was flagged.
    SafetyFlagged "safety.flagged" true false,
    /// A payment did not go through.
    PaymentFailed "payment.failed" true true,
}

/// What a person chose for one type; what they did not choose is as the type has it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Channels {
    #[serde(skip_serializing_if = "Option::is_none")]
    in_app: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    email: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    push: Option<bool>,
}

/// The channels of one type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ChannelsView {
    /// In the frontend.
    pub in_app: bool,
    /// By e-mail.
    pub email: bool,
    /// On the person's devices.
    pub push: bool,
}

/// Changes of one type's channels; `null` sets the default again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ChannelsPatch {
    /// In the frontend.
    #[serde(default)]
    #[schema(value_type = Option<bool>)]
    in_app: Patch<bool>,
    /// By e-mail.
    #[serde(default)]
    #[schema(value_type = Option<bool>)]
    email: Patch<bool>,
    /// On the person's devices.
    #[serde(default)]
    #[schema(value_type = Option<bool>)]
    push: Patch<bool>,
}

/// What a person chose, by type.
pub type Notifications = BTreeMap<NotificationType, Channels>;

/// Applies changes.
pub(super) fn merge(patch: NotificationsPatch, to: &mut Notifications) {
    for (which, patch) in patch.each() {
        let channels = to.entry(which).or_default();
        patch.merge(channels, |Object(patch), to| {
            patch.in_app.apply(&mut to.in_app);
            patch.email.apply(&mut to.email);
            patch.push.apply(&mut to.push);
        });
    }
    to.retain(|_, channels| *channels != Channels::default());
}

/// The channels of a type: what was chosen, else its defaults.
pub fn channels(chosen: &Notifications, which: NotificationType) -> ChannelsView {
    let default = which.default_channels();
    let chosen = chosen.get(&which).copied().unwrap_or_default();
    ChannelsView {
        in_app: chosen.in_app.unwrap_or(default.in_app),
        email: chosen.email.unwrap_or(default.email),
        push: chosen.push.unwrap_or(default.push),
    }
}
