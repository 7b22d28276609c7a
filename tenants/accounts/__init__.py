"""How people sign in: local accounts with a second factor, OpenID Connect, and sessions that end.

There is no signing up: a platform admin makes local accounts, and an identity provider's first sign-in makes the rest.
"""
