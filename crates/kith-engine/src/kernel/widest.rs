//! One loop, compiled for several widths of vector registers.

/// Compiles a function for AVX-512 and AVX2 besides the baseline, and calls the widest that the machine has.
macro_rules! widest {
    ($(#[$doc:meta])* fn $name:ident / $wide:ident / $wider:ident / $body:ident ($($arg:ident: $ty:ty),*)) => {
        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx512f")]
        fn $wider($($arg: $ty),*) {
            $body($($arg),*);
        }

        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx2")]
        fn $wide($($arg: $ty),*) {
            $body($($arg),*);
        }

        $(#[$doc])*
        pub(crate) fn $name($($arg: $ty),*) {
            #[cfg(target_arch = "x86_64")]
            {
                if is_x86_feature_detected!("avx512f") {
                    // SAFETY: the machine has AVX-512.
                    return unsafe { $wider($($arg),*) };
                }
                if is_x86_feature_detected!("avx2") {
                    // SAFETY: the machine has AVX2.
                    return unsafe { $wide($($arg),*) };
                }
            }
            $body($($arg),*);
        }
    };
}
