// Adds a button to each block that is there to be copied. Without this file the blocks can still be selected.
"use strict";
for (const block of document.querySelectorAll("pre[data-copy]")) {
  if (!navigator.clipboard) break;
  const code = block.querySelector("code");
  const button = document.createElement("button");
  button.type = "button";
  button.className = "copy";
  const label = block.getAttribute("aria-label") || "text";
  button.textContent = "Copy";
  button.setAttribute("aria-label", "Copy: " + label);
  const said = document.createElement("span");
  said.className = "sr";
  said.setAttribute("aria-live", "polite");
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(code.textContent);
      button.textContent = "Copied";
      said.textContent = "Copied";
    } catch {
      button.textContent = "Select it instead";
      said.textContent = "Copying was not allowed";
    }
    setTimeout(() => { button.textContent = "Copy"; said.textContent = ""; }, 2000);
  });
  block.prepend(button, said);
}
const wrong = document.getElementById("wrong");
if (wrong) wrong.focus();
