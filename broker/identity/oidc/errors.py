"""What can be wrong with a provider or with what it says.

OidcFault
├── BadProvider     its documents cannot be used: an admin's or the provider's matter
├── Away            it does not answer, or not usefully: try again
└── BadToken        its answer to a sign-in is not to be believed; nobody is signed in
    └── UnknownKey  it is signed with a key that is not among those known: they may have been changed
"""


class OidcFault(Exception):
    """Root of the tree. `str()` is one's own sentence and repeats nothing that a provider sent."""


class BadProvider(OidcFault):
    """The provider's description or keys cannot be used."""


class Away(OidcFault):
    """The provider could not be asked."""


class BadToken(OidcFault):
    """An ID token, or the answer around it, that does not prove who somebody is."""


class UnknownKey(BadToken):
    """No known key of the provider's fits."""
