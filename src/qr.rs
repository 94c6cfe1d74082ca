//! Draws a text as a QR code: PNG (also as a data URL), SVG, or half blocks for a terminal. It does no I/O and keeps
//! nothing. Check a text with [`fits`] before drawing it.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use image::{
    GrayImage, Luma,
    codecs::png::{CompressionType, FilterType, PngEncoder},
};
use qrcode::{Color, EcLevel, QrCode};

/// White modules around the code; the standard requires 4, and cameras need them on a dark page.
const QUIET_ZONE: usize = 4;
const PIXELS_PER_MODULE: usize = 4;

/// Whether the text fits into a QR code: at most 2,953 bytes (version 40, level L).
pub fn fits(text: &str) -> bool {
    !text.is_empty() && text.len() <= 2_953
}

/// Black and white squares, quiet zone included.
struct Modules {
    side: usize,
    dark: Vec<bool>,
}

impl Modules {
    fn of(text: &str) -> Self {
        let code = QrCode::with_error_correction_level(text, EcLevel::L).expect("the text was checked to fit");
        let inner = code.width();
        let side = inner + 2 * QUIET_ZONE;
        let mut dark = vec![false; side * side];
        for (at, color) in code.to_colors().into_iter().enumerate() {
            dark[(at / inner + QUIET_ZONE) * side + at % inner + QUIET_ZONE] = color == Color::Dark;
        }
        Self { side, dark }
    }

    fn dark(&self, x: usize, y: usize) -> bool {
        y < self.side && self.dark[y * self.side + x]
    }
}

/// A PNG for `GET /qr`, written by the crate `image`.
pub fn png(text: &str) -> Vec<u8> {
    let modules = Modules::of(text);
    let side = u32::try_from(modules.side * PIXELS_PER_MODULE).expect("a QR code is at most 185 modules wide");
    let pixels = GrayImage::from_fn(side, side, |x, y| {
        let module = |pixel: u32| pixel as usize / PIXELS_PER_MODULE;
        Luma([if modules.dark(module(x), module(y)) { 0 } else { u8::MAX }])
    });
    let mut out = Vec::new();
    let encoder = PngEncoder::new_with_quality(&mut out, CompressionType::Default, FilterType::NoFilter);
    pixels.write_with_encoder(encoder).expect("writing into memory cannot fail");
    out
}

/// The picture inside `qr-code` events. It is drawn for every code of every pairing, so its time counts: with 1 bit a pixel
/// there is an eighth of the bytes to compress. The crate `image` writes at least 8 bits a pixel.
pub fn png_data_url(text: &str) -> String {
    format!("data:image/png;base64,{}", BASE64_STANDARD.encode(one_bit_png(text)))
}

fn one_bit_png(text: &str) -> Vec<u8> {
    let modules = Modules::of(text);
    let side = modules.side * PIXELS_PER_MODULE;
    let row_bytes = side.div_ceil(8);
    let mut pixels = Vec::with_capacity(row_bytes * side);
    for y in 0..modules.side {
        let mut row = vec![0_u8; row_bytes];
        for x in (0..side).filter(|x| !modules.dark(x / PIXELS_PER_MODULE, y)) {
            row[x / 8] |= 0x80 >> (x % 8);
        }
        for _ in 0..PIXELS_PER_MODULE {
            pixels.extend_from_slice(&row);
        }
    }
    let mut out = Vec::new();
    let side = u32::try_from(side).expect("a QR code is at most 185 modules wide");
    let mut encoder = png::Encoder::new(&mut out, side, side);
    encoder.set_color(png::ColorType::Grayscale);
    encoder.set_depth(png::BitDepth::One);
    encoder.set_compression(png::Compression::Fast);
    let written = encoder.write_header().and_then(|mut writer| writer.write_image_data(&pixels));
    written.expect("writing an image of the announced size into memory cannot fail");
    out
}

/// One path of horizontal runs: a tenth of what a rectangle for each module takes.
pub fn svg(text: &str) -> String {
    use std::fmt::Write as _;
    let modules = Modules::of(text);
    let side = modules.side;
    let mut path = String::new();
    for y in 0..side {
        let mut x = 0;
        while x < side {
            let run = (x..side).take_while(|&x| modules.dark(x, y)).count();
            if run > 0 {
                write!(path, "M{x} {y}h{run}v1h-{run}z").expect("writing into a string cannot fail");
            }
            x += run.max(1);
        }
    }
    format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {side} {side}" shape-rendering="crispEdges"><path fill="#fff" d="M0 0h{side}v{side}H0z"/><path d="{path}"/></svg>"##
    )
}

/// Two modules a character, dark on light by explicit colours: a terminal's own may be either way round.
pub fn terminal(text: &str) -> String {
    let modules = Modules::of(text);
    let mut out = String::new();
    for y in (0..modules.side).step_by(2) {
        out.push_str("\x1b[30;47m");
        for x in 0..modules.side {
            out.push(match (modules.dark(x, y), modules.dark(x, y + 1)) {
                (true, true) => '█',
                (true, false) => '▀',
                (false, true) => '▄',
                (false, false) => ' ',
            });
        }
        out.push_str("\x1b[0m\n");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As long as WhatsApp's: a ref, three keys, a type.
    const TEXT: &str = "2@hZtWJ2Kp0B7yQ0m1S9dXbnVqTq0rUuCw4Gk8FZ1yY2o3a5c7e9gBiDkFmHoJqLsNuPwRyTzV,\
        3q2+7wAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=,3q2+7wAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=,\
        3q2+7wAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=,9";

    fn read(luma: image::GrayImage) -> String {
        let mut prepared = rqrr::PreparedImage::prepare(luma);
        let grids = prepared.detect_grids();
        assert_eq!(grids.len(), 1);
        grids[0].decode().unwrap().1
    }

    #[test]
    fn both_pngs_read_back_as_their_text() {
        for drawn in [png(TEXT), one_bit_png(TEXT)] {
            let image = image::load_from_memory_with_format(&drawn, image::ImageFormat::Png).unwrap();
            assert_eq!(read(image.into_luma8()), TEXT);
        }
    }

    /// The reason why events do not carry the picture that `image` writes.
    #[test]
    fn picture_of_events_has_one_bit_a_pixel_and_both_are_small() {
        let depth = |png: &[u8]| png[24];
        let (for_events, by_image) = (one_bit_png(TEXT), png(TEXT));
        assert_eq!((depth(&for_events), depth(&by_image)), (1, 8));
        assert!(for_events.len() < 2_500 && by_image.len() < 2_500, "{} and {}", for_events.len(), by_image.len());
    }

    #[test]
    fn terminal_blocks_read_back_as_their_text() {
        let drawn = terminal(TEXT).replace("\x1b[30;47m", "").replace("\x1b[0m", "");
        let side = drawn.lines().next().unwrap().chars().count() as u32;
        let mut image = image::GrayImage::from_pixel(side * 4, side * 4, image::Luma([255]));
        for (row, line) in drawn.lines().enumerate() {
            for (x, block) in line.chars().enumerate() {
                for half in 0..2 {
                    if block == '█' || (block == '▀' && half == 0) || (block == '▄' && half == 1) {
                        for (dx, dy) in (0..16).map(|at| (at % 4, at / 4)) {
                            image.put_pixel(x as u32 * 4 + dx, (row as u32 * 2 + half) * 4 + dy, image::Luma([0]));
                        }
                    }
                }
            }
        }
        assert_eq!(read(image), TEXT);
    }

    #[test]
    fn svg_draws_the_same_modules() {
        let drawn = svg(TEXT);
        let modules = Modules::of(TEXT);
        let mut dark = 0;
        for run in drawn.split("d=\"").nth(2).unwrap().split('M').skip(1) {
            let (place, rest) = run.split_once('h').unwrap();
            let (x, y) = place.split_once(' ').unwrap();
            let (x, y): (usize, usize) = (x.parse().unwrap(), y.parse().unwrap());
            let length: usize = rest.split('v').next().unwrap().parse().unwrap();
            assert!((x..x + length).all(|x| modules.dark(x, y)));
            dark += length;
        }
        assert_eq!(dark, modules.dark.iter().filter(|dark| **dark).count());
    }

    #[test]
    fn text_too_long_for_a_qr_code_is_rejected() {
        assert!(fits(&"x".repeat(2_953)) && !fits(&"x".repeat(2_954)) && !fits(""));
        png(&"x".repeat(2_953));
        one_bit_png(&"x".repeat(2_953));
    }
}
