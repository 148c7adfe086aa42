"""Load and soak tests: send what customers send to any target, judge the result, and write a report with plots."""
