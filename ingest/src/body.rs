//! Bodies: read within a size, inflated within the same size.

use std::io::Read as _;

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, header};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use service::ApiError;
use service::extract::late_body;

/// How a body is compressed (RFC 9110, section 8.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    Identity,
    Gzip,
    Zstd,
}

impl Encoding {
    /// Reads `Content-Encoding`. One encoding at a time: a pack has no use for two.
    pub(crate) fn from_headers(headers: &HeaderMap) -> Result<Self, ApiError> {
        let mut values = headers.get_all(header::CONTENT_ENCODING).iter();
        let encoding = match (values.next(), values.next()) {
            (None, _) => return Ok(Self::Identity),
            (Some(value), None) => value.to_str().unwrap_or(""),
            (Some(_), Some(_)) => "",
        };
        if encoding.eq_ignore_ascii_case("identity") {
            Ok(Self::Identity)
        } else if encoding.eq_ignore_ascii_case("gzip") || encoding.eq_ignore_ascii_case("x-gzip") {
            Ok(Self::Gzip)
        } else if encoding.eq_ignore_ascii_case("zstd") {
            Ok(Self::Zstd)
        } else {
            Err(ApiError::unsupported_media_type("Content-Encoding is not one of: gzip, zstd, identity"))
        }
    }
}

/// Reads a whole body of at most `bytes_max`.
///
/// # Errors
/// 413 past the size, 408 past the server's time for bodies, 400 where the client broke off.
pub(crate) async fn read(body: Body, bytes_max: usize) -> Result<Bytes, ApiError> {
    match Limited::new(body, bytes_max).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(too_large(bytes_max)),
        Err(error) => Err(late_body(&*error)
            .unwrap_or_else(|| ApiError::malformed("the body ended early").code("malformed"))),
    }
}

/// Undoes the encoding, and gives up past `bytes_max`: a small body may inflate to anything.
///
/// # Errors
/// 413 past the size, 400 where the body is not what its encoding says.
pub(crate) fn inflate(encoding: Encoding, body: Bytes, bytes_max: usize) -> Result<Bytes, ApiError> {
    let mut inflated = Vec::new();
    let limit = bytes_max as u64 + 1;
    let read = match encoding {
        Encoding::Identity => return Ok(body),
        Encoding::Gzip => flate2::read::MultiGzDecoder::new(&body[..]).take(limit).read_to_end(&mut inflated),
        Encoding::Zstd => {
            zstd_decoder(&body).and_then(|decoder| decoder.take(limit).read_to_end(&mut inflated))
        }
    };
    read.map_err(|_| {
        ApiError::malformed("the body is not what its Content-Encoding says").code("malformed")
    })?;
    if inflated.len() > bytes_max {
        return Err(too_large(bytes_max));
    }
    Ok(inflated.into())
}

/// log2 of the largest window a zstd body may ask for: 8 MiB, what RFC 8878 section 3.1.1.1.2 tells decoders to support.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;

fn zstd_decoder(body: &[u8]) -> std::io::Result<zstd::stream::read::Decoder<'static, &[u8]>> {
    let mut decoder = zstd::stream::read::Decoder::with_buffer(body)?;
    decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
    Ok(decoder)
}

fn too_large(bytes_max: usize) -> ApiError {
    ApiError::too_large(format!("the body is larger than {bytes_max} bytes (after inflation)"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gzip(bytes: &[u8]) -> Bytes {
        let mut encoder = flate2::read::GzEncoder::new(bytes, flate2::Compression::fast());
        let mut out = Vec::new();
        encoder.read_to_end(&mut out).unwrap();
        out.into()
    }

    fn zstd(bytes: &[u8]) -> Bytes {
        zstd::encode_all(bytes, 1).unwrap().into()
    }

    #[test]
    fn a_body_inflates_to_what_it_was() {
        let body = Bytes::from_static(br#"[{"n":"a","v":1}]"#);
        assert_eq!(inflate(Encoding::Identity, body.clone(), 100).unwrap(), body);
        assert_eq!(inflate(Encoding::Gzip, gzip(&body), 100).unwrap(), body);
        assert_eq!(inflate(Encoding::Zstd, zstd(&body), 100).unwrap(), body);
    }

    #[test]
    fn a_bomb_is_given_up_at_the_limit() {
        let zeros = vec![0; 10 << 20];
        for (encoding, body) in [(Encoding::Gzip, gzip(&zeros)), (Encoding::Zstd, zstd(&zeros))] {
            assert_eq!(inflate(encoding, body.clone(), 1 << 20).unwrap_err().status(), 413);
            assert_eq!(inflate(encoding, body, 10 << 20).unwrap().len(), 10 << 20);
        }
    }

    #[test]
    fn what_is_not_compressed_or_cut_short_is_malformed() {
        for encoding in [Encoding::Gzip, Encoding::Zstd] {
            assert_eq!(inflate(encoding, Bytes::from_static(b"[{}]"), 100).unwrap_err().status(), 400);
        }
        let (gzip, zstd) = (gzip(&[7; 1_000]), zstd(&[7; 1_000]));
        assert_eq!(inflate(Encoding::Gzip, gzip.slice(..gzip.len() - 4), 2_000).unwrap_err().status(), 400);
        assert_eq!(inflate(Encoding::Zstd, zstd.slice(..zstd.len() - 4), 2_000).unwrap_err().status(), 400);
    }

    #[test]
    fn only_known_encodings_are_taken() {
        let of = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::CONTENT_ENCODING, value.parse().unwrap());
            }
            Encoding::from_headers(&headers)
        };
        assert_eq!(of(&[]).unwrap(), Encoding::Identity);
        assert_eq!(of(&["GZip"]).unwrap(), Encoding::Gzip);
        assert_eq!(of(&["zstd"]).unwrap(), Encoding::Zstd);
        for refused in [&["br"][..], &["gzip, zstd"], &["gzip", "zstd"], &[""]] {
            assert_eq!(of(refused).unwrap_err().status(), 415, "{refused:?}");
        }
    }
}
