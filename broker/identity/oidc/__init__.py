"""People sign in by their tenant's OIDC provider (OpenID Connect Core 1.0, authorization code flow with PKCE).

What is promised: a sign-in is finished only by the browser that began it, once, within ten minutes, and only by the
provider it was begun with; an ID token counts only if the provider's own key signed it, with an algorithm out of a
short list, for this very client and sign-in; a person is the subject that the provider names, never an e-mail address,
but for the first time where an admin chose so; nothing is fetched but through the one way out, and everything fetched
is bounded, the provider asked once at most for each sign-in that was begun. What a provider's word began ends with its
word (Back-Channel Logout 1.0): logins and the editors let in with them, at once; no logout counts twice, none is lost
to a sign-in that is under way, and no junk keeps a true one from being heard.

- `discovery`, `keys`, `id_token`, `logout_token`, `begun`: pure; `room`: how much may be under way;
- `fetching`: the provider's documents, kept for a while; `exchange`: the code for the ID token;
- `providers`: what an admin sets; `people`: which subject is which identity; `server`: the sign-in itself;
  `logouts`: its end.
"""
