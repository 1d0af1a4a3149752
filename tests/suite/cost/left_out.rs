//! What the measuring of costs leaves out, and why.

/// Routes that are measured elsewhere or touch no table, each with its reason.
pub(super) const LEFT_OUT: &[(&str, &str)] = &[
    (
        "POST /api/onboarding/complete",
        "two transactions, and looks at one item while its execution goes on",
    ),
    (
        "GET /api/onboarding/{executionId}",
        "one read of the person's own item",
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
        "GET /api/auth/magic-link/verify",
        "asks nothing; told in the mailed link's stories",
    ),
    (
        "POST /api/auth/magic-link/verify",
        "needs a mail; a read more than other sign-ins, told in the mailed link's stories",
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
        "POST /api/auth/refresh",
        "one conditional update; told in the sign-in's stories",
    ),
    (
        "POST /api/auth/2fa",
        "needs a sign-in that waits; told in the second factor's stories",
    ),
    (
        "GET /api/user/export/{id}/download",
        "costs what the account holds, after its head is sent",
    ),
    (
        "POST /api/usage/record",
        "two reads and its rate counter; what counting costs is told in usage_proof",
    ),
    (
        "DELETE /api/user",
        "once in a life; told in the stories of deletion",
    ),
    (
        "GET /api/user/deletion",
        "one read; told in the stories of deletion",
    ),
    (
        "POST /api/agents/{id}/calls/{callId}/stop",
        "needs a call that runs; told in the runtime's stories",
    ),
];
