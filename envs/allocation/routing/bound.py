from __future__ import annotations


def bound(env, instance):
    return 1.0
