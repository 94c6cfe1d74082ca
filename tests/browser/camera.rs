/// What a phone's camera reads from a picture of the screen; `None` where there is nothing to read.
pub fn read(png: &[u8]) -> Option<String> {
    let image = image::load_from_memory_with_format(png, image::ImageFormat::Png).expect("a PNG");
    let mut camera = rqrr::PreparedImage::prepare(image.into_luma8());
    camera.detect_grids().iter().find_map(|grid| grid.decode().ok()).map(|(_, text)| text)
}
