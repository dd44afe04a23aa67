"""Envoy's side of the gateway: the bootstrap it starts with, its endpoints file, and the Lua filter that counts what answers used."""
