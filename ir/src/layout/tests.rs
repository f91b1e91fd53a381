//! Packing against decoding, and the numbers of the layouts.
