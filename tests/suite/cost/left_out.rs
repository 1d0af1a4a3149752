//! What the measuring of costs leaves out, and why.

/// Routes that are measured elsewhere or touch no table, each with its reason.
pub(super) const LEFT_OUT: &[(&str, &str)] = &[
    (
        "POST /api/onboarding/complete",
        "two transactions, and looks at one item while its execution goes on",
    ),
    (
        "POST /api/agents/{id}/stream",
        "costs what chat does; its head is sent while its checkpoint is under way",
    ),
    (
        "GET /api/auth/{provider}/login",
        "one write of the sign-in's state; told in the sign-in's stories",
    ),
    (
        "GET /api/auth/{provider}/callback",
        "needs a provider; told in the sign-in's stories",
    ),
    (
        "POST /api/user/security/identities",
        "needs a provider; told in the linking's stories",
    ),
    (
        "DELETE /api/user/security/identities/{id}",
        "needs a provider; told in the linking's stories",
    ),
    (
        "GET /api/user/export/{id}/download",
        "costs what the account holds, after its head is sent",
    ),
    (
        "POST /api/agents/{id}/calls/{callId}/stop",
        "needs a call that runs; told in the runtime's stories",
    ),
];
