import pytest
import torch

from devi.errors import DeviError
from devi.memory import free_memory, is_out_of_memory, memory_bytes


@pytest.mark.parametrize(
    ("text", "size"),
    [("512M", 512 << 20), ("4G", 4 << 30), ("1.5 GiB", 3 << 29), ("2097152", 2 << 20), ("1g", 1 << 30)],
)
def test_text_is_bytes(text, size):
    assert memory_bytes(text) == size


def test_without_text_it_is_half_of_what_is_free():
    assert 0.3 * free_memory() < memory_bytes(None) < 0.7 * free_memory()


def test_running_out_is_known_by_its_class_or_words():
    assert is_out_of_memory(MemoryError())
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."))
    assert is_out_of_memory(RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"))
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))


@pytest.mark.parametrize("text", ["much", "-1G", "0", "10", "4X", ""])
def test_what_is_no_amount_is_refused(text):
    with pytest.raises(DeviError, match=f"--memory '{text}' is no amount of memory. Expected at least 1M, e.g."):
        memory_bytes(text)
