//! Search for bytes that need care, in steps of fixed width, which the compiler turns into vector code.

/// Whether `is_special` holds for any byte of `text`.
#[inline]
pub fn contains(text: &[u8], is_special: impl Fn(u8) -> bool + Copy) -> bool {
    // The last step overlaps the one before, so that no bytes are left over.
    if let Some(end) = text.last_chunk::<32>() {
        let (chunks, _) = text.as_chunks::<32>();
        chunks.iter().any(|chunk| any(chunk, is_special)) || any(end, is_special)
    } else if let Some(end) = text.last_chunk::<16>() {
        let (chunks, _) = text.as_chunks::<16>();
        chunks.iter().any(|chunk| any(chunk, is_special)) || any(end, is_special)
    } else if let (Some(start), Some(end)) = (text.first_chunk::<8>(), text.last_chunk::<8>()) {
        any(start, is_special) | any(end, is_special)
    } else if let (Some(start), Some(end)) = (text.first_chunk::<4>(), text.last_chunk::<4>()) {
        any(start, is_special) | any(end, is_special)
    } else {
        text.iter().any(|&byte| is_special(byte))
    }
}

/// Number of bytes before the first one for which `is_special` holds; all of them if there is none.
#[inline]
pub(crate) fn plain_len(text: &[u8], is_special: impl Fn(u8) -> bool + Copy) -> usize {
    let (chunks, _) = text.as_chunks::<32>();
    let plain = chunks.iter().take_while(|chunk| !any(chunk, is_special)).count() * 32;
    let rest = text.get(plain..).unwrap_or_default();
    if rest.len() < 32 && !contains(rest, is_special) {
        return text.len();
    }
    plain + rest.iter().take_while(|&&byte| !is_special(byte)).count()
}

#[inline]
fn any<const N: usize>(chunk: &[u8; N], is_special: impl Fn(u8) -> bool) -> bool {
    // Numbers, not booleans: only these the compiler reliably turns into vector code.
    chunk.iter().fold(0u8, |any, &byte| any | u8::from(is_special(byte))) != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_special_byte_is_found_wherever_it_is() {
        for len in 0..150 {
            let mut text = vec![b'a'; len];
            assert!(!contains(&text, |byte| byte == b','));
            assert_eq!(plain_len(&text, |byte| byte == b','), len);
            for position in 0..len {
                text[position] = b',';
                assert!(contains(&text, |byte| byte == b','), "{position} of {len}");
                assert_eq!(plain_len(&text, |byte| byte == b','), position, "of {len}");
                text[position] = b'a';
            }
        }
    }
}
