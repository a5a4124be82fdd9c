// Shows the API's own description; nothing is fetched from anywhere else.
SwaggerUIBundle({
  url: "openapi.json",  // beside this page, wherever the API is published
  dom_id: "#swagger-ui",
  deepLinking: true,
  validatorUrl: null,
  presets: [SwaggerUIBundle.presets.apis],
});
