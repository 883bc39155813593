//! From the device somebody asked for to a candle device, with its name. A
//! device that is not there is an error with the reason; only `Auto` chooses.

use std::str::FromStr;

use candle_core::Device;
use serde::{Deserialize, Serialize};

/// Why a device cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the device {device} cannot be used: {reason}; {remedy}")]
pub struct DeviceError {
    device: String,
    reason: String,
    remedy: String,
}

/// The device somebody asked for. There is no fallback: a device that is not
/// there is an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ComputeDevice {
    /// CUDA or Metal if this build has it and a device answers, else the CPU; says which.
    #[default]
    Auto,
    /// The processor.
    Cpu,
    /// CUDA device by number.
    Cuda(usize),
    /// Metal device by number.
    Metal(usize),
}

impl std::fmt::Display for ComputeDevice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Auto => write!(f, "auto"),
            Self::Cpu => write!(f, "cpu"),
            Self::Cuda(number) => write!(f, "cuda:{number}"),
            Self::Metal(number) => write!(f, "metal:{number}"),
        }
    }
}

impl FromStr for ComputeDevice {
    type Err = String;

    /// `auto`, `cpu`, `cuda`, `cuda:N`, `metal` or `metal:N`.
    fn from_str(text: &str) -> Result<Self, String> {
        let (name, number) = text.split_once(':').unwrap_or((text, "0"));
        match (name, number.parse(), text.contains(':')) {
            ("auto", _, false) => Ok(Self::Auto),
            ("cpu", _, false) => Ok(Self::Cpu),
            ("cuda", Ok(number), _) => Ok(Self::Cuda(number)),
            ("metal", Ok(number), _) => Ok(Self::Metal(number)),
            _ => Err(format!("`{text}` is no device; accepted are auto, cpu, cuda, cuda:N, metal, metal:N")),
        }
    }
}

/// Opens `wanted`; gives the device and its name for people, which for `Auto`
/// says why ("CPU, 8 threads (this build has no CUDA or Metal)").
///
/// # Errors
/// When the device is not there; `Auto` takes the processor then.
pub fn choose(wanted: ComputeDevice) -> Result<(Device, String), DeviceError> {
    match wanted {
        ComputeDevice::Cpu => Ok((Device::Cpu, cpu_name())),
        ComputeDevice::Cuda(number) => cuda(number),
        ComputeDevice::Metal(number) => metal(number),
        ComputeDevice::Auto => Ok(automatic()),
    }
}

fn automatic() -> (Device, String) {
    let because = if cfg!(feature = "cuda") {
        match cuda(0) {
            Ok(chosen) => return chosen,
            Err(error) => error.to_string(),
        }
    } else if cfg!(feature = "metal") {
        match metal(0) {
            Ok(chosen) => return chosen,
            Err(error) => error.to_string(),
        }
    } else {
        "this build has neither CUDA nor Metal".to_owned()
    };
    tracing::info!("running on the CPU: {because}");
    (Device::Cpu, format!("{} ({because})", cpu_name()))
}

fn cuda(number: usize) -> Result<(Device, String), DeviceError> {
    let name = format!("CUDA {number}");
    if !cfg!(feature = "cuda") {
        return Err(missing(
            &name,
            "this build has no CUDA",
            "build with `--features cuda`, or use `--device cpu`",
        ));
    }
    let remedy = "check `nvidia-smi`, or use `--device cpu`";
    Device::new_cuda(number)
        .map(|device| (device, name.clone()))
        .map_err(|error| missing(&name, &error.to_string(), remedy))
}

fn metal(number: usize) -> Result<(Device, String), DeviceError> {
    let name = format!("Metal {number}");
    if !cfg!(feature = "metal") {
        return Err(missing(
            &name,
            "this build has no Metal",
            "build on macOS with `--features metal`, or use `--device cpu`",
        ));
    }
    Device::new_metal(number)
        .map(|device| (device, name.clone()))
        .map_err(|error| missing(&name, &error.to_string(), "use `--device cpu`"))
}

fn cpu_name() -> String {
    match candle_core::utils::get_num_threads() {
        1 => "CPU, 1 thread".to_owned(),
        threads => format!("CPU, {threads} threads"),
    }
}

fn missing(device: &str, reason: &str, remedy: &str) -> DeviceError {
    // Driver messages may span lines; ours are one sentence.
    let reason = reason.lines().next().unwrap_or_default().trim().to_owned();
    DeviceError { device: device.to_owned(), reason, remedy: remedy.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_read_as_they_are_written() {
        for text in ["auto", "cpu", "cuda:0", "cuda:3", "metal:1"] {
            assert_eq!(text.parse::<ComputeDevice>().unwrap().to_string(), text);
        }
        assert_eq!("cuda".parse(), Ok(ComputeDevice::Cuda(0)));
        for text in ["", "gpu", "cpu:1", "cuda:", "cuda:-1", "cuda:x"] {
            assert!(text.parse::<ComputeDevice>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_processor_is_always_there_and_says_its_threads() {
        let (device, name) = choose(ComputeDevice::Cpu).unwrap();
        assert!(device.is_cpu());
        assert!(name.starts_with("CPU, ") && name.contains("thread"), "{name}");
    }

    #[test]
    fn automatic_choice_always_works_and_gives_a_reason_on_the_processor() {
        let (device, name) = choose(ComputeDevice::Auto).unwrap();
        assert!(!device.is_cpu() || name.contains('('), "{name}");
    }

    #[cfg(not(feature = "cuda"))]
    #[test]
    fn a_missing_gpu_is_an_error_with_reason_and_remedy() {
        let message = choose(ComputeDevice::Cuda(0)).unwrap_err().to_string();
        assert!(message.contains("CUDA 0") && message.contains("--features cuda"), "{message}");
    }
}
