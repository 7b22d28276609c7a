"""``/v1/docs``: the OpenAPI document to read and to try, under the same content policy as every page."""

from drf_spectacular.views import SpectacularSwaggerSplitView


class DocsView(SpectacularSwaggerSplitView):
    # Other methods would be answered with data for which there is no template.
    http_method_names = ["get", "head"]
    template_name = "api_docs.html"
