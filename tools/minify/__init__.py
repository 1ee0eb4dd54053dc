"""Makes the browser script small by terser. It needs Node, which nothing else here does, and which CI may lack."""
