"""A stand-in for `cuda.bindings.runtime`, whose GPU has ordinary memory."""

# ruff: noqa: N802, N815 (the names are those of CUDA)
from __future__ import annotations

import ctypes
from dataclasses import dataclass, field
from enum import IntEnum
from types import SimpleNamespace
from typing import Any

GPU, CAPABILITY = "NVIDIA Test GPU", (8, 7)


class CudaErrors(IntEnum):
    cudaSuccess = 0
    cudaErrorMemoryAllocation = 2
    cudaErrorNoDevice = 100


@dataclass
class FakeCuda:
    """Functions of the CUDA runtime as its Python bindings have them: a tuple, the error code first."""

    devices: int = 1
    memory: int = 1 << 30
    held: dict[int, Any] = field(default_factory=dict)
    cudaMemcpyKind = IntEnum("cudaMemcpyKind", {"cudaMemcpyHostToDevice": 1, "cudaMemcpyDeviceToHost": 2})

    def cudaGetDeviceCount(self) -> tuple[Any, ...]:
        return (
            (CudaErrors.cudaSuccess, self.devices) if self.devices else (CudaErrors.cudaErrorNoDevice, None)
        )

    def cudaGetDeviceProperties(self, device: int) -> tuple[Any, ...]:
        facts = SimpleNamespace(name=GPU.encode(), major=CAPABILITY[0], minor=CAPABILITY[1])
        return CudaErrors.cudaSuccess, facts

    def cudaGetErrorName(self, error: CudaErrors) -> tuple[Any, ...]:
        return CudaErrors.cudaSuccess, error.name.encode()

    def cudaGetErrorString(self, error: CudaErrors) -> tuple[Any, ...]:
        return CudaErrors.cudaSuccess, f"words for {int(error)}".encode()

    def cudaStreamCreate(self) -> tuple[Any, ...]:
        return CudaErrors.cudaSuccess, self._hold(1)

    def cudaStreamDestroy(self, stream: int) -> tuple[Any, ...]:
        del self.held[stream]
        return (CudaErrors.cudaSuccess,)

    def cudaStreamSynchronize(self, stream: int) -> tuple[Any, ...]:
        return (CudaErrors.cudaSuccess,)

    def cudaMalloc(self, size: int) -> tuple[Any, ...]:
        if size > self.memory:
            return CudaErrors.cudaErrorMemoryAllocation, None
        return CudaErrors.cudaSuccess, self._hold(size)

    def cudaFree(self, devPtr: int) -> tuple[Any, ...]:
        del self.held[devPtr]
        return (CudaErrors.cudaSuccess,)

    def cudaMemcpyAsync(self, dst: int, src: int, count: int, kind: int, stream: int) -> tuple[Any, ...]:
        device = dst if kind == self.cudaMemcpyKind.cudaMemcpyHostToDevice else src
        assert count <= len(self.held[device])
        assert stream in self.held
        ctypes.memmove(dst, src, count)
        return (CudaErrors.cudaSuccess,)

    def _hold(self, size: int) -> int:
        buffer = (ctypes.c_char * size)()
        address = ctypes.addressof(buffer)
        self.held[address] = buffer
        return address
