// A click on a picture opens all pictures of its image as large as the window; arrow keys go to the next image.
(function () {
  const dialog = document.getElementById("large");
  const cards = Array.from(document.querySelectorAll(".card"));
  let at = 0;
  function show(number) {
    at = (number + cards.length) % cards.length;
    dialog.querySelector(".body").replaceChildren(cards[at].cloneNode(true));
    dialog.querySelector(".body").scrollTop = 0;
    if (!dialog.open) dialog.showModal();
  }
  cards.forEach(function (card, number) {
    card.addEventListener("click", function (event) {
      if (event.target.closest("button.open")) show(number);
    });
  });
  dialog.addEventListener("click", function (event) {
    if (event.target === dialog || event.target.closest(".close")) dialog.close();
    if (event.target.closest(".back")) show(at - 1);
    if (event.target.closest(".next")) show(at + 1);
  });
  dialog.addEventListener("keydown", function (event) {
    if (event.key === "ArrowLeft") show(at - 1);
    if (event.key === "ArrowRight") show(at + 1);
  });
})();
