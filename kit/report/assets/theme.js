"use strict";
// The theme follows the system until the button chooses another: system → light → dark → system.
(() => {
  const names = ["system", "light", "dark"];
  const button = document.getElementById("theme");
  const remember = (value) => {
    try {
      if (value !== undefined) localStorage.setItem("kit-theme", value);
      return localStorage.getItem("kit-theme");
    } catch {
      return value; // a page from the disk may not be allowed to remember
    }
  };
  const apply = (name) => {
    document.documentElement.style.colorScheme = name === "system" ? "light dark" : name;
    document.documentElement.dataset.theme = name;
    button.querySelector("span").textContent = name[0].toUpperCase() + name.slice(1);
    button.setAttribute("aria-label", `Colour theme: ${name === "system" ? "as the system" : name}`);
  };
  const stored = remember();
  apply(names.includes(stored) ? stored : "system");
  button.addEventListener("click", () => {
    const next = names[(names.indexOf(document.documentElement.dataset.theme) + 1) % names.length];
    remember(next);
    apply(next);
  });
})();
