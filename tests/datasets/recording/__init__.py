"""Tests of recording labelled clips."""
