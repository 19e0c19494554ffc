"""What is wrong with a request as a whole, and in which of its fields."""


class FieldError(ValueError):
    """`field` is its path in the request's message, such as `class_names[3]`."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


def check_count(field: str, count: int, what: str, maximum: int) -> None:
    """Raises FieldError unless 1 <= count <= maximum."""
    if count < 1:
        raise FieldError(field, f"the request holds no {what}; give at least one")
    if count > maximum:
        raise FieldError(field, f"{count} {what} are over the limit of {maximum}; send fewer")
