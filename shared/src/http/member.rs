//! May they: the extractors that prove a permission in a workspace. What the caller may not see is 404.

use std::collections::HashMap;
use std::marker::PhantomData;

use axum::extract::{FromRequestParts, Path};
use http::request::Parts;

use super::caller::{Caller, authenticate};
use super::claimed::is_safe;
use super::limit::hit;
use crate::app::App;
use crate::context::Context;
use crate::domain::agents::Agent;
use crate::domain::permissions::{Grant, Role};
use crate::domain::users::User;
use crate::domain::workspaces::read::{Owned, owned};
use crate::domain::workspaces::{Member as MemberRow, Workspace};
use crate::error::{Error, Result};
use crate::ids::{AgentId, UserId, WorkspaceId};
use crate::store::db::Batch;
use crate::store::{Key, keys};

/// A caller who is a member of the workspace and has the permission `P` there.
#[derive(Debug, Clone)]
pub struct Member<P> {
    /// Who.
    pub caller: Caller,
    /// Where.
    pub workspace: Workspace,
    /// As what.
    pub role: Role,
    proof: PhantomData<fn() -> P>,
}

impl<P> Member<P> {
    /// The request, as audit records tell it.
    pub fn context(&self) -> &Context {
        &self.caller.context
    }
}

/// Proves `P` in `workspace` for the caller of this request, and reads `extra` in the same round trip, with the rate
/// counter beside it.
pub async fn admit<P: Grant>(
    parts: &Parts,
    app: &App,
    workspace: WorkspaceId,
    extra: &[Key],
) -> Result<(Member<P>, Batch)> {
    let claimed = authenticate(parts, app).await?;
    let must_live = !is_safe(&parts.method);
    let (meta, member) = (keys::workspace(workspace), keys::member(workspace, claimed.user));
    let mut wanted = vec![meta.clone(), member.clone()];
    wanted.extend_from_slice(extra);
    wanted.extend(claimed.evidence(must_live));
    let (limit, who) = claimed.limit();
    let (read, counted, ()) = tokio::join!(
        app.db().batch(&wanted),
        hit(parts, app, limit, &who),
        claimed.note_use(app)
    );
    counted?;
    let mut read = read?;
    let mut caller = claimed.proven(&mut read, must_live)?;
    caller.enters(workspace)?;
    let member = read.read::<MemberRow>(&member)?.ok_or(Error::NotFound)?;
    let workspace = read
        .read::<Workspace>(&meta)?
        .filter(Workspace::is_live)
        .ok_or(Error::NotFound)?;
    if !member.role.may(P::PERMISSION) {
        return Err(Error::Forbidden(
            "your role in this workspace does not allow this",
        ));
    }
    // What is over the plan's limit can be read, exported and deleted, and no more.
    if must_live && parts.method != http::Method::DELETE {
        workspace.within_limit()?;
    }
    caller.context.audit_days = Some(workspace.audit_days());
    Ok((
        Member {
            caller,
            workspace,
            role: member.role,
            proof: PhantomData,
        },
        read,
    ))
}

/// A variable of the path; text that is no such id is 404, as a foreign id is.
pub async fn path_id<T: std::str::FromStr>(parts: &mut Parts, app: &App, name: &str) -> Result<T> {
    let Path(variables) = Path::<HashMap<String, String>>::from_request_parts(parts, app)
        .await
        .map_err(|_| Error::NotFound)?;
    variables
        .get(name)
        .and_then(|text| text.parse().ok())
        .ok_or(Error::NotFound)
}

/// The workspace that a request is about: `{id}` of a workspace, or `?workspaceId=`.
async fn workspace_of(parts: &mut Parts, app: &App) -> Result<WorkspaceId> {
    if let Ok(id) = path_id::<WorkspaceId>(parts, app, "id").await {
        return Ok(id);
    }
    match queried(parts) {
        Some(text) => text.parse().map_err(|_| Error::NotFound),
        None if parts.uri.path().contains("/workspaces/") => Err(Error::NotFound),
        None => Err(Error::field("query.workspaceId", "is required")),
    }
}

/// What the query says is the workspace.
fn queried(parts: &Parts) -> Option<String> {
    let query = parts.uri.query().unwrap_or_default();
    let wanted = url::form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "workspaceId");
    wanted.map(|(_, text)| text.into_owned())
}

impl<P: Grant> FromRequestParts<App> for Member<P> {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self> {
        Ok(in_workspace(parts, app, |_| None).await?.0)
    }
}

/// Proves `P` in the workspace that a request is about, and reads what else is to be known of the caller.
async fn in_workspace<P: Grant>(
    parts: &mut Parts,
    app: &App,
    extra: impl Fn(UserId) -> Option<Key>,
) -> Result<(Member<P>, Batch)> {
    // Who comes first: a stranger learns nothing from how an id is written.
    let claimed = authenticate(parts, app).await?;
    let workspace = match workspace_of(parts, app).await {
        Ok(workspace) => workspace,
        Err(error) => return Err(claimed.settle(parts, app).await.err().unwrap_or(error)),
    };
    let extra: Vec<_> = extra(claimed.user).into_iter().collect();
    admit(parts, app, workspace, &extra).await
}

/// Somebody who asks about one workspace, in which they have the permission `P`; or, where the query names none, about all
/// that they own, as owners have every permission.
#[derive(Debug, Clone)]
pub struct OneOrOwned<P> {
    /// Who.
    pub caller: Caller,
    /// Who that is.
    pub profile: User,
    /// Where.
    pub workspaces: Vec<Workspace>,
    proof: PhantomData<fn() -> P>,
}

/// The most workspaces that are looked at in one request.
const MOST_OWNED: usize = 100;

impl<P: Grant> FromRequestParts<App> for OneOrOwned<P> {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self> {
        if queried(parts).is_some() {
            let (member, mut read) = in_workspace::<P>(parts, app, |user| Some(keys::user(user))).await?;
            let profile = read.read::<User>(&keys::user(member.caller.user))?;
            return Ok(Self {
                caller: member.caller,
                profile: profile.ok_or(Error::NotFound)?,
                workspaces: vec![member.workspace],
                proof: PhantomData,
            });
        }
        let caller = Caller::from_request_parts(parts, app).await?;
        let key = keys::user(caller.user);
        let (profile, owned) = tokio::join!(
            app.db().get::<User>(&key),
            owned(app.db(), caller.user, MOST_OWNED)
        );
        let Owned::All(workspaces) = owned? else {
            let message = format!("is required of who owns more than {MOST_OWNED} workspaces");
            return Err(Error::field("query.workspaceId", message));
        };
        Ok(Self {
            profile: profile?.ok_or(Error::NotFound)?,
            caller,
            workspaces,
            proof: PhantomData,
        })
    }
}

/// The same for the workspace of the agent in the path, with the agent.
#[derive(Debug, Clone)]
pub struct AgentMember<P> {
    /// The member.
    pub member: Member<P>,
    agent: Option<Agent>,
}

impl<P> AgentMember<P> {
    /// The agent. Asked for late, so that a repeated DELETE finds its first answer before the agent's absence.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn agent(&self) -> Result<&Agent> {
        self.agent.as_ref().ok_or(Error::NotFound)
    }

    /// The request, as audit records tell it.
    pub fn context(&self) -> &Context {
        self.member.context()
    }
}

impl<P: Grant> FromRequestParts<App> for AgentMember<P> {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self> {
        let claimed = authenticate(parts, app).await?;
        let id = match path_id::<AgentId>(parts, app, "id").await {
            Ok(id) => id,
            Err(error) => return Err(claimed.settle(parts, app).await.err().unwrap_or(error)),
        };
        let key = keys::agent(id);
        let (member, mut read) = admit(parts, app, id.workspace(), std::slice::from_ref(&key)).await?;
        if !is_safe(&parts.method) && parts.method != http::Method::DELETE {
            member.workspace.agent_within_limit(id)?;
        }
        Ok(Self {
            member,
            agent: read.read(&key)?,
        })
    }
}
