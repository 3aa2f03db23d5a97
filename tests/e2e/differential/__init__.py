"""The gate's verdict beside the bundler's answer, over random operations of random sessions."""
