// A live view of the camera, for devices that have one and do not open a camera of their own for an input of
// files: those with a mouse. It runs while its dialog is open, and never longer.

const find = (id) => document.getElementById(id);

/** Open the live view instead of what `input` opens, where that would only be a list of files. */
export function watchCamera(input, taken) {
  const live = navigator.mediaDevices?.getUserMedia && !matchMedia("(pointer: coarse)").matches;
  if (!live) return;
  input.addEventListener("click", (event) => {
    event.preventDefault();
    open();
  });
  find("close").addEventListener("click", () => find("camera").close());
  find("camera").addEventListener("close", stop);
  find("shoot").addEventListener("click", async () => {
    const blob = await shot(find("view"));
    find("camera").close();
    taken(blob);
  });
}

async function open() {
  find("camera-trouble").textContent = "";
  find("shoot").disabled = true;
  find("camera").showModal();
  try {
    const wanted = { video: { facingMode: "environment" }, audio: false };
    const stream = await navigator.mediaDevices.getUserMedia(wanted);
    if (!find("camera").open) return stopped(stream); // it was closed while the browser asked
    find("view").srcObject = stream;
    await find("view").play();
    find("shoot").disabled = false;
    find("shoot").focus();
  } catch (error) {
    const why = error.name === "NotAllowedError" ? "the browser does not allow it" : "none was found";
    find("camera-trouble").textContent = `No camera can be used: ${why}. Choose a picture instead.`;
  }
}

async function shot(video) {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight];
  canvas.getContext("2d").drawImage(video, 0, 0);
  return new Promise((done) => canvas.toBlob(done, "image/png"));
}

function stop() {
  if (find("view").srcObject) stopped(find("view").srcObject);
  find("view").srcObject = null;
}

function stopped(stream) {
  for (const track of stream.getTracks()) track.stop();
}
