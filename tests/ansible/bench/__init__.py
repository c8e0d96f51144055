"""Tests of role bench."""
