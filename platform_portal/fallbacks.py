"""What a request or an address that is none, and a fault of ours, answer: JSON below ``/v1/``, a page elsewhere."""

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views import defaults

from platform_portal.errors import DomainError, not_found

API = "/v1/"


def handle_400(request: HttpRequest, exception: Exception) -> HttpResponse:
    if not request.path.startswith(API):
        return defaults.bad_request(request, exception)
    error = DomainError("bad_request", "The platform does not understand this request, its host name perhaps.")
    return JsonResponse(error.as_json(), status=400)


def handle_404(request: HttpRequest, exception: Exception) -> HttpResponse:
    if not request.path.startswith(API):
        return defaults.page_not_found(request, exception)
    error = not_found("address in the API; /v1/docs lists them")
    return JsonResponse(error.as_json(), status=404)


def handle_500(request: HttpRequest) -> HttpResponse:
    if not request.path.startswith(API):
        return defaults.server_error(request)
    error = DomainError("internal_error", "Something went wrong on our side; it has been logged.", http_status=500)
    return JsonResponse(error.as_json(), status=500)
