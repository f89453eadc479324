"""Seconds, memory and accuracy beside a plain reference."""
