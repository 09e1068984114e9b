// The pixels of a picture, as the decoder in Python gives them: upright by EXIF, alpha over white, colour
// profiles not applied, eight bits, of an animation the first frame, and a large JPEG at a half, a quarter or
// an eighth. It knows what the browser can read: no TIFF and no PPM, and of a WebP no EXIF.

export const MOST_BYTES = 256 * 1024 * 1024;
export const MOST_PIXELS = 178956970;
const MOST_DRAWN = 25e6; // px of what is no JPEG; above, it is drawn smaller, since a phone has little memory
const RESERVE = 2; // times the side that is needed is left
const LEAST = 128; // px of the shorter side that are always left, twice
const UNREADABLE = "not an image (this browser cannot read it; save it as JPEG or PNG)";
const TILE = 2048; // px; some browsers have no canvas above 16 million

/** A file that is no usable picture. Its message is as Prediction.error: a short reason, then the details. */
export class Unusable extends Error {}

/** The size in px, upright, of a picture, which is not decoded for that; in a page. Throws Unusable. */
export async function sizeOf(blob) {
  if (blob.size === 0) throw new Unusable("empty (the file has 0 bytes; choose it again)");
  if (blob.size > MOST_BYTES) {
    throw new Unusable(`too large (${counted(blob.size)} bytes; at most ${counted(MOST_BYTES)} are read)`);
  }
  const image = new Image();
  image.src = URL.createObjectURL(blob);
  try {
    await new Promise((done, failed) => {
      image.onload = done;
      image.onerror = () => failed(new Unusable(UNREADABLE));
    });
    const { naturalWidth: width, naturalHeight: height } = image;
    if (width * height > MOST_PIXELS) {
      throw new Unusable(`too many pixels (${width} × ${height}; at most ${counted(MOST_PIXELS)})`);
    }
    return { width, height };
  } finally {
    URL.revokeObjectURL(image.src);
  }
}

/**
 * `{data, width, height}` for a network that needs `shorter` px of the shorter side; in a worker.
 *
 * `data` is RGB, Uint8Array of height × width × 3. Throws Unusable.
 */
export async function pixelsOf(blob, shorter) {
  const bitmap = await decoded(blob);
  try {
    return drawn(bitmap, divisor(await isJpeg(blob), bitmap, shorter));
  } finally {
    bitmap.close();
  }
}

async function decoded(blob) {
  try {
    return await createImageBitmap(blob, { imageOrientation: "from-image", colorSpaceConversion: "none" });
  } catch {
    throw new Unusable("damaged (this browser cannot read it; save it anew as JPEG or PNG)");
  }
}

async function isJpeg(blob) {
  const head = new Uint8Array(await blob.slice(0, 3).arrayBuffer());
  return head[0] === 0xff && head[1] === 0xd8 && head[2] === 0xff;
}

/** By how much a picture is made smaller before the network's own resizing. */
function divisor(jpeg, { width, height }, shorter) {
  const least = Math.min(width, height);
  const enough = least / Math.round(Math.max(shorter, LEAST) * RESERVE);
  const fits = (by) => (jpeg ? enough >= by : (width * height) / (by / 2) ** 2 > MOST_DRAWN);
  return [8, 4, 2].find(fits) ?? 1;
}

/** The bitmap over white; each pixel is the mean of `by` × `by` of its own. */
function drawn(bitmap, by) {
  const [width, height] = [Math.ceil(bitmap.width / by), Math.ceil(bitmap.height / by)];
  const data = new Uint8Array(width * height * 3);
  const canvas = new OffscreenCanvas(Math.min(TILE, bitmap.width), Math.min(TILE, bitmap.height));
  const context = canvas.getContext("2d", { alpha: false, willReadFrequently: true, colorSpace: "srgb" });
  context.fillStyle = "#fff";
  for (let y = 0; y < bitmap.height; y += TILE) {
    for (let x = 0; x < bitmap.width; x += TILE) {
      context.fillRect(0, 0, TILE, TILE);
      context.drawImage(bitmap, -x, -y);
      const [right, bottom] = [Math.min(TILE, bitmap.width - x), Math.min(TILE, bitmap.height - y)];
      const tile = context.getImageData(0, 0, right, bottom);
      (by === 1 ? copy : average)(tile, data, (y / by) * width + x / by, width, by);
    }
  }
  return { data, width, height };
}

/** A tile (RGBA) into `data` (RGB, rows of `width`), beginning at the pixel `start`. */
function copy(tile, data, start, width) {
  const rgba = tile.data;
  for (let y = 0, from = 0; y < tile.height; y += 1) {
    let to = 3 * (start + y * width);
    for (let x = 0; x < tile.width; x += 1, from += 4) {
      data[to++] = rgba[from];
      data[to++] = rgba[from + 1];
      data[to++] = rgba[from + 2];
    }
  }
}

function average(tile, data, start, width, by) {
  const rgba = tile.data;
  for (let y = 0; y < tile.height; y += by) {
    let to = 3 * (start + (y / by) * width);
    const bottom = Math.min(y + by, tile.height);
    for (let x = 0; x < tile.width; x += by) {
      const right = Math.min(x + by, tile.width);
      let [red, green, blue] = [0, 0, 0];
      for (let row = y; row < bottom; row += 1) {
        for (let from = 4 * (row * tile.width + x), end = from + 4 * (right - x); from < end; from += 4) {
          red += rgba[from];
          green += rgba[from + 1];
          blue += rgba[from + 2];
        }
      }
      const count = (bottom - y) * (right - x);
      data[to++] = Math.round(red / count);
      data[to++] = Math.round(green / count);
      data[to++] = Math.round(blue / count);
    }
  }
}

function counted(n) {
  return n.toLocaleString("en");
}
