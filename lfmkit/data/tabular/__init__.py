"""Tables: published ones by MAF's protocol, and your own."""
