// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC1155Receiver} from "@openzeppelin/contracts/token/ERC1155/IERC1155Receiver.sol";
import {AssetRegistry} from "../contracts/AssetRegistry.sol";
import {EnergyCertificates} from "../contracts/EnergyCertificates.sol";
import {HeadAnchor} from "../contracts/HeadAnchor.sol";

/// @title Random call sequences against the contracts, with the invariants after every call.
/// @notice Never deployed but by the tests. A sequence always reverts at its end, so that the next
/// begins on a clean chain; what it counted travels in the revert.
contract Invariants {
    uint256 private constant KEYS = 6;
    uint256 private constant STARTS = 2;
    uint256 private constant ASSETS = 2;
    uint64 private constant BEGIN = 1_469_448_000;
    uint256 private constant OPERATIONS = 7;

    HeadAnchor private _anchor;
    AssetRegistry private _registry;
    EnergyCertificates private _certificates;

    struct Proposal {
        EnergyCertificates.Claim claim;
        bytes32 key;
    }

    uint256 private _random;
    bytes32[] private _leaves;
    uint256 private _posted;
    EnergyCertificates.Claim[] private _claims;
    uint256[OPERATIONS] private _taken;
    uint256[OPERATIONS] private _refused;

    // What was seen before, to compare with after each call.
    mapping(bytes32 key => bytes32) private _seen;
    mapping(uint256 asset => mapping(uint64 start => uint64)) private _minted;
    mapping(uint256 id => uint256) private _retired;
    uint64 private _size;

    error Violated(string what);
    error Ended(uint256[OPERATIONS] taken, uint256[OPERATIONS] refused);

    function begin(HeadAnchor anchor, AssetRegistry registry, EnergyCertificates certificates)
        external
    {
        _anchor = anchor;
        _registry = registry;
        _certificates = certificates;
        for (uint256 asset = 0; asset < ASSETS; ++asset) {
            registry.register(address(this), "pv", 4_000_000, uint32(7));
            registry.certify(asset + 1, BEGIN, BEGIN + 86_400);
        }
    }

    /// @notice Run `count` sequences of `length` calls; returns calls taken and refused by kind.
    function run(uint256 seed, uint256 count, uint256 length)
        external
        returns (uint256[OPERATIONS] memory taken, uint256[OPERATIONS] memory refused)
    {
        for (uint256 sequence = 0; sequence < count; ++sequence) {
            try this.play(uint256(keccak256(abi.encode(seed, sequence))), length) {
                revert Violated("a sequence did not end");
            } catch (bytes memory reason) {
                if (bytes4(reason) != Ended.selector) {
                    assembly ("memory-safe") {
                        revert(add(reason, 32), mload(reason))
                    }
                }
                uint256[OPERATIONS * 2] memory counts;
                for (uint256 place = 0; place < OPERATIONS * 2; ++place) {
                    assembly ("memory-safe") {
                        mstore(
                            add(counts, mul(place, 32)),
                            mload(add(reason, add(36, mul(place, 32))))
                        )
                    }
                }
                for (uint256 kind = 0; kind < OPERATIONS; ++kind) {
                    taken[kind] += counts[kind];
                    refused[kind] += counts[OPERATIONS + kind];
                }
            }
        }
    }

    function play(uint256 seed, uint256 length) external {
        require(msg.sender == address(this));
        _random = seed;
        for (uint256 step = 0; step < length; ++step) {
            uint256 kind = _draw(OPERATIONS);
            if (_act(kind)) ++_taken[kind];
            else ++_refused[kind];
            _check();
        }
        revert Ended(_taken, _refused);
    }

    function _act(uint256 kind) private returns (bool) {
        if (kind == 0 || kind == 5) return _post();
        if (kind == 1) return _postAnything();
        if (kind == 2 || kind == 6) return _mint(kind == 6);
        if (kind == 3) return _retire();
        return _pauseOrGoOn();
    }

    /// @dev Append claims to the log and post its head, as the operator does.
    function _post() private returns (bool) {
        uint256 first = _leaves.length;
        for (uint256 added = _draw(2) + 1; added > 0; --added) {
            EnergyCertificates.Claim memory claim = EnergyCertificates.Claim({
                asset: _draw(ASSETS) + 1,
                start: BEGIN + uint64(900 * _draw(STARTS)),
                end: 0,
                energyWh: uint64(_draw(1_100_000))
            });
            claim.end = claim.start + 900;
            bytes memory leaf = _certificates.leafOf(claim, _registry.get(claim.asset));
            _leaves.push(sha256(abi.encodePacked(bytes1(0x00), leaf)));
            _claims.push(claim);
        }
        uint256 size = _leaves.length;
        bytes32 key = bytes32(_draw(KEYS));
        try _anchor.post(key, _root(0, size), uint64(first), uint64(size)) {
            _posted = size;
            return true;
        } catch {
            for (uint256 left = size - first; left > 0; --left) {
                _leaves.pop();
                _claims.pop();
            }
            return false;
        }
    }

    /// @dev Post what is no head of the log: small sizes only, so that honest posts go on.
    function _postAnything() private returns (bool) {
        uint64 size = uint64(_draw(_posted + 1));
        HeadAnchor.Head memory known = _anchor.head(bytes32(_draw(KEYS)));
        bytes32 root = _draw(2) == 0 ? known.root : bytes32(_draw(1 << 128));
        bytes32 key = bytes32(_draw(KEYS));
        try _anchor.post(key, root, uint64(_draw(uint256(size) + 1)), size) {
            return true;
        } catch {
            return false;
        }
    }

    /// @dev Mint a claim of the log, as it is or with one thing changed.
    function _mint(bool changed) private returns (bool) {
        if (_posted == 0) return false;
        bytes32 key = bytes32(_draw(KEYS));
        uint64 size = _anchor.head(key).size;
        if (size == 0 || size > _leaves.length) return false;
        uint256 index = _draw(size);
        EnergyCertificates.Claim memory claim = _claims[index];
        bytes32[] memory path = _path(index, 0, size);
        uint256 what = _draw(4);
        if (changed) {
            if (what == 0) claim.energyWh += 1;
            else if (what == 1) claim.start += 900;
            else if (what == 2) claim.asset = 3 - claim.asset;
            else if (path.length > 0) path[0] = bytes32(_draw(1 << 128));
        }
        try _certificates.mint(claim, address(this), key, uint64(index), path) {
            if (changed && what == 0) revert Violated("minted more than was settled");
            return true;
        } catch {
            return false;
        }
    }

    function _retire() private returns (bool) {
        uint256 id = _class(_draw(STARTS));
        try _certificates.retire(id, _draw(400_000), bytes32(_random)) {
            return true;
        } catch {
            return false;
        }
    }

    function _pauseOrGoOn() private returns (bool) {
        if (_anchor.paused()) {
            _anchor.unpause();
            return true;
        }
        if (_draw(3) != 0) return false;
        _anchor.pause();
        return true;
    }

    function _check() private {
        uint64 size = _anchor.tip().size;
        if (size < _size) revert Violated("the size fell");
        _size = size;
        for (uint256 number = 0; number < KEYS; ++number) {
            HeadAnchor.Head memory found = _anchor.head(bytes32(number));
            bytes32 now_ = found.size == 0 ? bytes32(0) : keccak256(abi.encode(found));
            bytes32 before = _seen[bytes32(number)];
            if (before != 0 && before != now_) revert Violated("a key has another root");
            if (found.size > size) revert Violated("a head is beyond the largest size");
            _seen[bytes32(number)] = now_;
        }
        for (uint256 place = 0; place < STARTS; ++place) {
            uint64 start = BEGIN + uint64(900 * place);
            uint256 sum = 0;
            for (uint256 asset = 1; asset <= ASSETS; ++asset) {
                uint64 minted = _certificates.mintedWh(asset, start);
                uint64 before = _minted[asset][start];
                if (before != 0 && minted != before) revert Violated("minted twice");
                if (minted != before && !_settled(asset, start, minted)) {
                    revert Violated("minted what was not settled");
                }
                _minted[asset][start] = minted;
                sum += minted;
            }
            uint256 id = _class(place);
            uint256 retired = _certificates.retiredWh(id);
            if (retired < _retired[id]) revert Violated("retired energy came back");
            _retired[id] = retired;
            if (sum != _certificates.settledWh(id)) revert Violated("a class is not its assets");
            if (_certificates.balanceOf(address(this), id) + retired != sum) {
                revert Violated("held and retired is not what was minted");
            }
        }
    }

    function _settled(uint256 asset, uint64 start, uint64 energyWh) private view returns (bool) {
        for (uint256 place = 0; place < _posted; ++place) {
            EnergyCertificates.Claim memory claim = _claims[place];
            if (claim.asset == asset && claim.start == start && claim.energyWh == energyWh) {
                return true;
            }
        }
        return false;
    }

    function _class(uint256 place) private view returns (uint256) {
        uint64 start = BEGIN + uint64(900 * place);
        return _certificates.classOf(start, start + 900, 7, "pv");
    }

    function _draw(uint256 below) private returns (uint256) {
        _random = uint256(keccak256(abi.encode(_random)));
        return _random % below;
    }

    /// @dev RFC 9162, section 2.1.1, over leaves [start, stop).
    function _root(uint256 start, uint256 stop) private view returns (bytes32) {
        if (stop - start == 1) return _leaves[start];
        uint256 split = start + _half(stop - start);
        return sha256(abi.encodePacked(bytes1(0x01), _root(start, split), _root(split, stop)));
    }

    /// @dev RFC 9162, section 2.1.3.1: from the leaf to the root.
    function _path(uint256 index, uint256 start, uint256 stop)
        private
        view
        returns (bytes32[] memory path)
    {
        if (stop - start == 1) return new bytes32[](0);
        uint256 split = start + _half(stop - start);
        bool left = index < split;
        bytes32[] memory inner = left ? _path(index, start, split) : _path(index, split, stop);
        path = new bytes32[](inner.length + 1);
        for (uint256 place = 0; place < inner.length; ++place) path[place] = inner[place];
        path[inner.length] = left ? _root(split, stop) : _root(start, split);
    }

    /// @dev The largest power of two below a count.
    function _half(uint256 count) private pure returns (uint256 half) {
        half = 1;
        while (half * 2 < count) half *= 2;
    }

    function onERC1155Received(address, address, uint256, uint256, bytes calldata)
        external
        pure
        returns (bytes4)
    {
        return IERC1155Receiver.onERC1155Received.selector;
    }
}
