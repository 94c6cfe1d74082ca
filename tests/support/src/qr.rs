use base64::{Engine as _, prelude::BASE64_STANDARD};

/// The text that a camera reads from a `qrCode` of the stream.
pub fn read_data_url(url: &str) -> String {
    let base64 = url.strip_prefix("data:image/png;base64,").expect("a PNG as a data URL");
    read_png(&BASE64_STANDARD.decode(base64).expect("base64"))
}

pub fn read_png(png: &[u8]) -> String {
    let image = image::load_from_memory_with_format(png, image::ImageFormat::Png).expect("a PNG");
    let mut camera = rqrr::PreparedImage::prepare(image.into_luma8());
    let grids = camera.detect_grids();
    assert_eq!(grids.len(), 1, "one QR code in the image");
    grids[0].decode().expect("a readable QR code").1
}
