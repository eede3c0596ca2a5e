// An element of the page, with its properties and what is in it.
export const make = (kind, properties = {}, ...inside) => {
  const element = Object.assign(document.createElement(kind), properties);
  element.append(...inside);
  return element;
};
